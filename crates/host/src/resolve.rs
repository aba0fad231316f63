//! Names to addresses, as the system's resolver has them.

use std::net::{SocketAddr, ToSocketAddrs as _};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Background;

/// Asks the system beside other work. The client's own way ends the process where no thread can be started.
#[derive(Debug)]
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            // The port is the URL's: this one is replaced.
            let look = move || (name.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<SocketAddr>>);
            let found = Background::begin(look).done().await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
