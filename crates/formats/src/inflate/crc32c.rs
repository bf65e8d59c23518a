//! CRC-32C, which snappy's framing format carries.

/// The polynomial of Castagnoli, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[n][b]` is what byte `b` does to the sum when `n` bytes follow it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut at = 256;
    while at < 8 * 256 {
        let before = tables[at / 256 - 1][at % 256];
        tables[at / 256][at % 256] = before >> 8 ^ tables[0][(before & 0xff) as usize];
        at += 1;
    }
    tables
}

/// The checksum as a frame carries it: masked, because a sum of data that holds its own sum is a weak one.
pub(super) fn masked(data: &[u8]) -> u32 {
    let mut sum = !0u32;
    let (eights, rest) = data.as_chunks::<8>();
    for eight in eights {
        let bytes = (u64::from_le_bytes(*eight) ^ u64::from(sum)).to_le_bytes();
        sum = 0;
        for (byte, table) in bytes.iter().zip(TABLES.iter().rev()) {
            sum ^= table[usize::from(*byte)];
        }
    }
    for byte in rest {
        sum = sum >> 8 ^ TABLES[0][usize::from(sum as u8 ^ *byte)];
    }
    (!sum).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_is_the_one_of_the_standard() {
        // RFC 3720, B.4: 32 bytes of zeros, and bytes that count up.
        let counting: Vec<u8> = (0..32).collect();
        for (data, sum) in [([0; 32].as_slice(), 0x8a91_36aau32), (&counting, 0x46dd_794e)] {
            assert_eq!(super::masked(data), sum.rotate_right(15).wrapping_add(0xa282_ead8));
        }
        assert_eq!(super::masked(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
