//! Shamir's scheme over GF(2^8) with the polynomial of AES: parts are as long as the secret plus one byte, their
//! x coordinate, at the end. Reading only; the field's arithmetic runs in constant time.

use zeroize::Zeroizing;

/// Puts a secret together from its parts; `None` if they cannot belong together.
pub(super) fn combine(parts: &[Zeroizing<Vec<u8>>]) -> Option<Zeroizing<Vec<u8>>> {
    let len = parts.first()?.len();
    if parts.len() < 2 || len < 2 || parts.iter().any(|part| part.len() != len) {
        return None;
    }
    let xs: Vec<u8> = parts.iter().map(|part| part[len - 1]).collect();
    let distinct = xs.iter().enumerate().all(|(index, x)| !xs[..index].contains(x));
    if !distinct {
        return None;
    }
    // The secret is the polynomial's value at 0: each part weighs the product of x_j / (x_i - x_j).
    let weights: Vec<u8> = xs
        .iter()
        .enumerate()
        .map(|(i, own)| {
            let others = xs.iter().enumerate().filter(|(j, _)| *j != i);
            others.fold(1, |weight, (_, other)| multiply(weight, multiply(*other, invert(own ^ other))))
        })
        .collect();
    let byte = |at: usize| {
        parts.iter().zip(&weights).fold(0, |sum, (part, weight)| sum ^ multiply(part[at], *weight))
    };
    Some(Zeroizing::new((0..len - 1).map(byte).collect()))
}

fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        product ^= a & (((b >> bit) & 1).wrapping_neg());
        a = (a << 1) ^ (0x1B & (a >> 7).wrapping_neg());
    }
    product
}

/// `a` to the power of 254, which is its inverse; 0 for 0.
fn invert(a: u8) -> u8 {
    let mut power = 1;
    for bit in (0..8).rev() {
        power = multiply(power, power);
        if (254 >> bit) & 1 == 1 {
            power = multiply(power, a);
        }
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        for a in 1..=255 {
            assert_eq!(multiply(a, invert(a)), 1, "{a}");
        }
        assert_eq!(multiply(0x57, 0x83), 0xC1); // FIPS 197, section 4.2
    }

    #[test]
    fn a_line_is_known_from_any_two_of_its_points() {
        let secret = [0xAB, 0x00, 0x7F];
        let slope = [0x11, 0xFE, 0x03];
        let part = |x: u8| {
            let mut bytes: Vec<u8> = (0..3).map(|at| secret[at] ^ multiply(slope[at], x)).collect();
            bytes.push(x);
            Zeroizing::new(bytes)
        };
        for (a, b) in [(1, 2), (7, 200), (255, 3)] {
            assert_eq!(combine(&[part(a), part(b)]).unwrap().as_slice(), secret, "{a} {b}");
        }
        assert_eq!(combine(&[part(1), part(2), part(3)]).unwrap().as_slice(), secret);
        assert!(combine(&[part(1)]).is_none());
        assert!(combine(&[part(1), part(1)]).is_none());
        assert!(combine(&[part(1), Zeroizing::new(vec![1, 2])]).is_none());
    }
}
