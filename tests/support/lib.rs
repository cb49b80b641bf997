//! What the end-to-end tests share: an nginx process, scripted peers, waiting with a limit.
