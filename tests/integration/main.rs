//! One binary, so that helpers are shared and linked once.

<<<<<<< HEAD
mod serve;
=======
mod middleware;
>>>>>>> part-middleware
mod support;
mod support_itself;
mod trust;
