use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};

use super::*;

/// A tunnel in a task, and the two peers at its ends.
fn tunnel(idle: Option<Duration>, buffer: usize) -> (DuplexStream, DuplexStream, Running) {
    let ((client, near), (far, upstream)) = (duplex(buffer), duplex(buffer));
    (client, upstream, tokio::spawn(Tunnel::new((near, &[]), (far, &[]), idle)))
}

type Running = tokio::task::JoinHandle<Result<(), Cut>>;

#[tokio::test]
async fn bytes_that_were_there_before_come_first_and_each_end_is_carried_by_itself() {
    let ((mut client, near), (far, mut upstream)) = (duplex(64), duplex(64));
    let running = tokio::spawn(Tunnel::new((near, b"ahead "), (far, b"glued "), None));
    client.write_all(b"asked").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = String::new();
    upstream.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "ahead asked");
    upstream.write_all(b"answered").await.unwrap();
    drop(upstream);
    let mut answered = String::new();
    client.read_to_string(&mut answered).await.unwrap();
    assert_eq!(answered, "glued answered");
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn much_through_little_room_arrives_whole_and_in_order_both_ways_at_once() {
    let (client, upstream, running) = tunnel(None, 1000);
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
    let mut work = Vec::new();
    for peer in [client, upstream] {
        let (mut read, mut write) = tokio::io::split(peer);
        let out = bytes.clone();
        work.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            let sending = async {
                write.write_all(&out).await.unwrap();
                write.shutdown().await.unwrap();
            };
            tokio::join!(sending, async { read.read_to_end(&mut seen).await.unwrap() });
            seen
        }));
    }
    for seen in work {
        assert!(seen.await.unwrap() == bytes);
    }
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_stream_holds_back_is_flushed_before_anything_is_waited_for() {
    let ((mut client, near), (far, mut upstream)) = (duplex(64), duplex(64));
    let _running = tokio::spawn(Tunnel::new((near, &[]), (BufWriter::new(far), &[]), None));
    for message in [&b"one"[..], b"two"] {
        client.write_all(message).await.unwrap();
        let mut seen = [0; 3];
        upstream.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_cut_when_nothing_has_moved_for_its_limit_and_at_most_a_quarter_more() {
    let limit = Duration::from_secs(100);
    let (client, upstream, running) = tunnel(Some(limit), 64);
    let start = Instant::now();
    assert!(matches!(running.await.unwrap(), Err(Cut::Idle(is)) if is == limit));
    assert_eq!(start.elapsed(), limit);
    drop((client, upstream));

    let (mut client, mut upstream, running) = tunnel(Some(limit), 64);
    for _ in 0..7 {
        tokio::time::sleep(limit * 9 / 10).await;
        upstream.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
    }
    let last = Instant::now();
    running.await.unwrap().unwrap_err();
    assert!((limit..=limit * 5 / 4).contains(&last.elapsed()), "{:?}", last.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_of_which_one_side_has_ended_is_not_kept_for_long() {
    let (mut client, mut upstream, running) = tunnel(Some(Duration::from_secs(3600)), 64);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    client.shutdown().await.unwrap();
    assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
    for _ in 0..3 {
        tokio::time::sleep(HALF_CLOSED * 9 / 10).await;
        upstream.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x', "the other may go on");
    }
    let last = Instant::now();
    assert!(matches!(running.await.unwrap(), Err(Cut::Idle(HALF_CLOSED))));
    assert!((HALF_CLOSED..=HALF_CLOSED * 5 / 4).contains(&last.elapsed()), "{:?}", last.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_a_little_at_a_time_is_progress() {
    let limit = Duration::from_secs(100);
    let (mut client, mut upstream, running) = tunnel(Some(limit), 8);
    let sending = tokio::spawn(async move {
        client.write_all(&[7; 64]).await.unwrap();
        client
    });
    for _ in 0..8 {
        tokio::time::sleep(limit * 9 / 10).await;
        upstream.read_exact(&mut [0; 8]).await.unwrap();
    }
    assert!(!running.is_finished());
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn a_limit_beyond_all_time_is_none() {
    let (client, upstream, running) = tunnel(Some(Duration::MAX), 8);
    drop((client, upstream));
    running.await.unwrap().unwrap();
}

/// Sends what it has, and takes nothing.
struct Deaf(DuplexStream);

impl AsyncRead for Deaf {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_has_arrived_is_delivered_to_a_slow_reader_after_its_sender_was_lost() {
    let last_words: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    for lost_is_upstream in [true, false] {
        let (mut reader, near) = duplex(1000);
        let (mut lost, far) = duplex(1 << 20);
        lost.write_all(&last_words).await.unwrap();
        let running = if lost_is_upstream {
            tokio::spawn(async move { Tunnel::new((near, &[]), (Deaf(far), &[]), None).await })
        } else {
            tokio::spawn(async move { Tunnel::new((Deaf(far), &[]), (near, &[]), None).await })
        };
        // Not taken, while much is kept for who says it.
        reader.write_all(b"x").await.unwrap();
        let mut seen = Vec::new();
        reader.read_to_end(&mut seen).await.unwrap();
        assert!(seen == last_words, "{} bytes arrived", seen.len());
        let cut = running.await.unwrap().unwrap_err();
        assert_eq!(matches!(cut, Cut::Upstream(_)), lost_is_upstream, "{cut}");
        drop(lost); // it was open all the time, and nothing more was waited for
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_what_has_arrived_from_a_lost_side_has_a_minute_and_at_most_a_quarter_more() {
    for (idle, limit) in [(None, 60), (Some(Duration::from_secs(3600)), 60), (Some(Duration::from_secs(8)), 8)] {
        let (mut reader, near) = duplex(10);
        let (mut lost, far) = duplex(1000);
        lost.write_all(&[7; 100]).await.unwrap();
        let start = Instant::now();
        let running = tokio::spawn(Tunnel::new((near, &[]), (Deaf(far), &[]), idle));
        reader.write_all(b"x").await.unwrap();
        assert!(matches!(running.await.unwrap(), Err(Cut::Upstream(_))));
        assert!((limit..=limit * 5 / 4).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn the_side_that_failed_is_named() {
    struct Broken;
    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }
    impl AsyncWrite for Broken {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let (_peer, ours) = duplex(8);
    let cut = Tunnel::new((Broken, &[]), (ours, &[]), None).await.unwrap_err();
    assert!(cut.to_string().starts_with("client: "), "{cut}");
    // What the other side sent before is not lost with the one that broke.
    let (mut peer, ours) = duplex(8);
    let cut = Tunnel::new((ours, b"last"), (Broken, &[]), None).await.unwrap_err();
    assert!(cut.to_string().starts_with("upstream: "), "{cut}");
    let (mut client, ours) = duplex(8);
    client.write_all(b"last").await.unwrap();
    let (far, mut upstream) = duplex(8);
    let cut = Tunnel::new((ReadsThenBroken(ours), &[]), (far, &[]), None).await.unwrap_err();
    assert!(matches!(cut, Cut::Client(_)), "{cut}");
    let mut arrived = String::new();
    upstream.read_to_string(&mut arrived).await.unwrap();
    assert_eq!(arrived, "last");
    peer.read_to_end(&mut Vec::new()).await.unwrap();
}

/// Sends what it has, and is lost then.
struct ReadsThenBroken(DuplexStream);
impl AsyncRead for ReadsThenBroken {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(cx, buf) {
            Poll::Pending => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            read @ Poll::Ready(_) => read,
        }
    }
}
impl AsyncWrite for ReadsThenBroken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_a_stream_holds_back_of_a_lost_side_is_flushed_to_a_slow_reader() {
    for lost_is_upstream in [true, false] {
        let (mut reader, near) = duplex(10);
        let (mut lost, far) = duplex(1000);
        lost.write_all(&[7; 100]).await.unwrap();
        let (near, far) = (BufWriter::new(near), ReadsThenBroken(far));
        let running = if lost_is_upstream {
            tokio::spawn(async move { Tunnel::new((near, &[]), (far, &[]), None).await })
        } else {
            tokio::spawn(async move { Tunnel::new((far, &[]), (near, &[]), None).await })
        };
        let mut seen = Vec::new();
        reader.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, [7; 100]);
        let cut = running.await.unwrap().unwrap_err();
        assert_eq!(matches!(cut, Cut::Upstream(_)), lost_is_upstream, "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_what_is_held_back_of_a_lost_side_has_a_minute_and_at_most_a_quarter_more() {
    let (_reader, near) = duplex(10);
    let (mut lost, far) = duplex(1000);
    lost.write_all(&[7; 100]).await.unwrap();
    let start = Instant::now();
    let cut = Tunnel::new((BufWriter::new(near), &[]), (ReadsThenBroken(far), &[]), None).await;
    assert!(matches!(cut, Err(Cut::Upstream(_))));
    assert!((60..=75).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}
