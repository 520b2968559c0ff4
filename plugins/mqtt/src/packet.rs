//! MQTT 3.1.1's packets, as far as a subscriber needs them
//! (<https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html>; the sections are named below).

/// The largest packet that is taken, in bytes: far above what an alert has.
pub const MAX_PACKET: usize = 1 << 20;

/// What a broker sends to a subscriber.
#[derive(Debug, PartialEq)]
pub enum Packet {
    /// 3.2: the connection is accepted (0) or refused.
    ConnAck { code: u8 },
    /// 3.3: a message.
    Publish { topic: String, payload: Vec<u8>, acknowledge: Option<u16> },
    /// 3.9: what became of each filter; 0x80 where it is refused.
    SubAck { codes: Vec<u8> },
    /// 3.13: the answer to a ping.
    PingResp,
    /// Whatever else; a subscriber has no use for it.
    Other(u8),
}

/// Why what arrives is no MQTT.
#[derive(Debug, PartialEq)]
pub struct Malformed(pub &'static str);

/// The first packet of `bytes`, and how long it is; none while it isn't whole.
pub fn read(bytes: &[u8]) -> Result<Option<(Packet, usize)>, Malformed> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((length, used)) = remaining_length(rest)? else { return Ok(None) };
    if length > MAX_PACKET {
        return Err(Malformed("a packet is larger than 1 MiB"));
    }
    let begins = 1 + used;
    let Some(body) = bytes.get(begins..begins + length) else { return Ok(None) };
    Ok(Some((packet(*first, body)?, begins + length)))
}

/// 2.2.3: seven bits a byte, the lowest first, at most four bytes.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Malformed("a packet's length has more than 4 bytes")) }
}

fn packet(first: u8, body: &[u8]) -> Result<Packet, Malformed> {
    Ok(match first >> 4 {
        2 => Packet::ConnAck { code: *body.get(1).ok_or(Malformed("a CONNACK is too short"))? },
        3 => publish(first, body)?,
        9 => Packet::SubAck { codes: body.get(2..).ok_or(Malformed("a SUBACK is too short"))?.to_vec() },
        13 => Packet::PingResp,
        other => Packet::Other(other),
    })
}

fn publish(first: u8, body: &[u8]) -> Result<Packet, Malformed> {
    const SHORT: Malformed = Malformed("a PUBLISH is too short");
    let (length, rest) = body.split_at_checked(2).ok_or(SHORT)?;
    let (topic, rest) = rest.split_at_checked(number(length).into()).ok_or(SHORT)?;
    let topic = String::from_utf8(topic.to_vec()).map_err(|_| Malformed("a topic is no UTF-8"))?;
    // 3.3.1.2: 0 at most once, 1 at least once; 2 is never subscribed to here.
    let (acknowledge, payload) = match (first >> 1) & 3 {
        0 => (None, rest),
        1 => {
            let (id, payload) = rest.split_at_checked(2).ok_or(SHORT)?;
            (Some(number(id)), payload)
        }
        _ => return Err(Malformed("a PUBLISH has a quality of service that was not asked for")),
    };
    Ok(Packet::Publish { topic, payload: payload.to_vec(), acknowledge })
}

fn number(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |number, byte| number << 8 | u16::from(*byte))
}

/// Whom to connect as.
pub struct Connect<'a> {
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    pub password: Option<&'a str>,
    /// Seconds after which the broker gives the connection up.
    pub keep_alive: u16,
}

/// 3.1, with a session that the broker keeps while the connection is down.
pub fn connect(connect: &Connect<'_>) -> Vec<u8> {
    let credentials = [connect.username, connect.password];
    let flags = [0x80, 0x40].iter().zip(credentials).filter(|(_, given)| given.is_some());
    let flags: u8 = flags.map(|(flag, _)| flag).sum();
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend([4, flags]);
    body.extend(connect.keep_alive.to_be_bytes());
    text(&mut body, connect.client_id);
    credentials.into_iter().flatten().for_each(|given| text(&mut body, given));
    framed(0x10, body)
}

/// 3.8, at least once each.
pub fn subscribe(id: u16, filters: &[String]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for filter in filters {
        text(&mut body, filter);
        body.push(1);
    }
    framed(0x82, body)
}

/// 3.4.
pub fn pub_ack(id: u16) -> Vec<u8> {
    framed(0x40, id.to_be_bytes().to_vec())
}

/// 3.12.
pub fn ping() -> Vec<u8> {
    framed(0xc0, Vec::new())
}

/// 1.5.3; what is longer than a length can say is cut.
fn text(body: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text);
}

fn framed(first: u8, body: Vec<u8>) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 0x7f { 0x80 } else { 0 };
        packet.push((length & 0x7f) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_as_the_standard_has_it() {
        let connect =
            connect(&Connect { client_id: "w", username: Some("u"), password: Some("p"), keep_alive: 30 });
        let expected = b"\x10\x13\0\x04MQTT\x04\xc0\0\x1e\0\x01w\0\x01u\0\x01p";
        assert_eq!(connect, expected);
        assert_eq!(subscribe(1, &["a/#".to_owned()]), b"\x82\x08\0\x01\0\x03a/#\x01");
        assert_eq!(pub_ack(258), b"\x40\x02\x01\x02");
        assert_eq!(ping(), b"\xc0\0");
        assert_eq!(subscribe(1, &["x".repeat(200)])[..3], [0x82, 0xcd, 0x01]);
    }

    #[test]
    fn packets_are_read_whole_or_not_at_all() {
        let message = b"\x32\x09\0\x03a/b\x01\x02hi";
        for end in 0..message.len() {
            assert_eq!(read(&message[..end]), Ok(None), "{end}");
        }
        let publish =
            Packet::Publish { topic: "a/b".to_owned(), payload: b"hi".to_vec(), acknowledge: Some(258) };
        assert_eq!(read(&[&message[..], b"\xd0\0"].concat()), Ok(Some((publish, message.len()))));
        assert_eq!(read(b"\xd0\0\x20"), Ok(Some((Packet::PingResp, 2))));
        assert_eq!(read(b"\x20\x02\0\x05"), Ok(Some((Packet::ConnAck { code: 5 }, 4))));
        assert_eq!(read(b"\x90\x03\0\x01\x80"), Ok(Some((Packet::SubAck { codes: vec![0x80] }, 5))));
    }

    #[test]
    fn what_is_no_mqtt_is_refused() {
        for bytes in [
            &b"\x30\xff\xff\xff\xff"[..],
            b"\x30\xff\xff\xff\x7f",
            b"\x30\x01\0",
            b"\x30\x03\0\x09a",
            b"\x30\x03\0\x01\xff",
            b"\x34\x05\0\x01a\0\x01",
            b"\x32\x03\0\x01a",
            b"\x20\x01\0",
        ] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}
