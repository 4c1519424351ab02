//! WebSockets through runsd, as the Python package websockets sees them. What
//! is said and what has to come is in `clients/websocket_echo.py`.

use crate::harness::CloudRun;

#[track_caller]
fn talk(name: &str) {
    CloudRun::new().python(&["/tests/clients/websocket_echo.py", name]);
}

#[test]
fn a_thousand_messages_are_echoed() {
    talk("echoes");
}

#[test]
fn a_message_of_8_mb_is_echoed() {
    talk("big");
}

#[test]
fn a_ping_has_its_pong() {
    talk("ping");
}

#[test]
fn the_clients_close_code_reaches_the_service() {
    talk("closed_by_the_client");
}

#[test]
fn the_services_close_code_reaches_the_client() {
    talk("closed_by_the_server");
}

#[test]
fn who_leaves_without_a_goodbye_is_missed_on_the_other_side() {
    talk("gone");
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    talk("refused");
}
