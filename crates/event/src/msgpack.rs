//! Small msgpack values as bytes. The format: <https://github.com/msgpack/msgpack/blob/master/spec.md>.

/// Appends an unsigned integer in its shortest form.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend([0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend((value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend((value as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend(value.to_be_bytes());
        }
    }
}

/// The header of a string of `len` bytes in its shortest form, and how many of the bytes count.
pub fn str_header(len: usize) -> ([u8; 5], usize) {
    let mut header = [0; 5];
    let size = match len {
        0..=31 => {
            header[0] = 0xa0 | len as u8;
            1
        }
        32..=0xff => {
            header[..2].copy_from_slice(&[0xd9, len as u8]);
            2
        }
        0x100..=0xffff => {
            header[0] = 0xda;
            header[1..3].copy_from_slice(&(len as u16).to_be_bytes());
            3
        }
        _ => {
            header[0] = 0xdb;
            header[1..5].copy_from_slice(&(len as u32).to_be_bytes());
            5
        }
    };
    (header, size)
}

/// The header of a map of `len` entries in its shortest form, and how many of the bytes count.
pub fn map_header(len: usize) -> ([u8; 5], usize) {
    let mut header = [0; 5];
    let size = match len {
        0..=15 => {
            header[0] = 0x80 | len as u8;
            1
        }
        16..=0xffff => {
            header[0] = 0xde;
            header[1..3].copy_from_slice(&(len as u16).to_be_bytes());
            3
        }
        _ => {
            header[0] = 0xdf;
            header[1..5].copy_from_slice(&(len as u32).to_be_bytes());
            5
        }
    };
    (header, size)
}

/// Appends a string.
pub fn put_str(out: &mut Vec<u8>, text: &str) {
    let (header, size) = str_header(text.len());
    out.extend(&header[..size]);
    out.extend(text.as_bytes());
}

/// Appends an integer in its shortest form.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    match value {
        0.. => put_u64(out, value as u64),
        -0x20..=-1 => out.push(value as u8),
        -0x80..=-0x21 => out.extend([0xd0, value as u8]),
        -0x8000..=-0x81 => {
            out.push(0xd1);
            out.extend((value as i16).to_be_bytes());
        }
        -0x8000_0000..=-0x8001 => {
            out.push(0xd2);
            out.extend((value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(value.to_be_bytes());
        }
    }
}

/// Appends a double.
pub fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend(value.to_be_bytes());
}

/// Appends a boolean.
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(0xc2 | u8::from(value));
}

/// Appends bytes as a string.
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let (header, size) = str_header(text.len());
    out.extend(&header[..size]);
    out.extend(text);
}
