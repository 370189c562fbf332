//! The lower bound: copies bytes both ways and knows nothing of HTTP. Arguments: LISTEN UPSTREAM.

use std::io;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        return Err(io::Error::other("usage: relay LISTEN UPSTREAM"));
    };
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let upstream = upstream.clone();
        tokio::spawn(async move {
            if let Err(error) = relay(client, &upstream).await {
                eprintln!("relay: {error}");
            }
        });
    }
}

async fn relay(mut client: TcpStream, upstream: &str) -> io::Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}
