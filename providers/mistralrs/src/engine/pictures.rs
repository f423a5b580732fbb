//! Images of a request: from their `data:` URLs to the pixels that a model sees.
//!
//! Decoded here and brought to the model's size, because the engine's thread ends at an image that it cannot read, and so
//! that a request that waits holds little. Invariant: the size that an image announces is known, and small enough, before
//! a pixel of it is made.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use serde_json::Value;

use super::sight::Sight;

/// Most pixels of an image, 5792 × 5792: more than a phone takes.
const MOST_PIXELS: u64 = 1 << 25;
/// Most bytes of an image's pixels as they are stored, four to a pixel; while they are made smaller, as many again at most.
const MOST_BYTES: u64 = 4 * MOST_PIXELS;
/// Most images of a request.
pub(crate) const MOST_IMAGES: usize = 16;
/// Requests whose images are made at the same time.
pub(crate) static AT_ONCE: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The image of a part `{"type": "image_url", "image_url": {"url": ...}}`, as the model sees it.
///
/// # Errors
/// What is wrong with it, to go on after "the image ".
pub(crate) fn picture(image_url: Option<&Value>, sight: &Sight) -> Result<DynamicImage, String> {
    let url = image_url.and_then(|image| image["url"].as_str()).ok_or("has no 'image_url.url'")?;
    let Some(data) = url.strip_prefix("data:") else {
        return Err("is no data: URL: this engine reaches no network".into());
    };
    let Some((_, data)) = data.split_once(',').filter(|(kind, _)| kind.ends_with(";base64")) else {
        return Err("is no data: URL in Base64".into());
    };
    let bytes = BASE64.decode(data).map_err(|cause| format!("is not Base64: {cause}"))?;
    // What the bytes are counts, not what the URL calls them.
    let format = image::guess_format(&bytes).ok();
    let format = format.filter(|found| matches!(found, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP));
    let Some(format) = format else { return Err("is none of PNG, JPEG and WebP".into()) };
    let broken = |cause| format!("cannot be read: {cause}");
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(format!("has {width} × {height} pixels, of at most {MOST_PIXELS}"));
    }
    if decoder.total_bytes() > MOST_BYTES {
        let deep = decoder.total_bytes() / (u64::from(width) * u64::from(height)).max(1);
        return Err(format!("has {width} × {height} pixels of {deep} bytes each, of at most {MOST_BYTES} bytes"));
    }
    let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut whole = DynamicImage::from_decoder(decoder).map_err(broken)?;
    whole.apply_orientation(turned);
    let (width, height) = sight.size;
    Ok(DynamicImage::ImageRgb8(whole.into_rgb8()).resize_exact(width, height, sight.filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use serde_json::json;

    const RED: [u8; 3] = [250, 10, 10];
    const BLUE: [u8; 3] = [10, 10, 250];

    /// Red on the left, blue on the right.
    fn encoded(format: ImageFormat) -> Vec<u8> {
        let halves = RgbImage::from_fn(64, 32, |x, _| image::Rgb(if x < 32 { RED } else { BLUE }));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(halves).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// The pixels near the corners: left and right above, left below.
    fn corners(bytes: &[u8]) -> [[u8; 3]; 3] {
        let url = format!("data:whatever;base64,{}", BASE64.encode(bytes));
        let seen = picture(Some(&json!({"url": url})), &Sight::of_size(16, 16)).unwrap().into_rgb8();
        assert_eq!(seen.dimensions(), (16, 16));
        [(1, 1), (14, 1), (1, 14)].map(|(x, y)| seen.get_pixel(x, y).0)
    }

    fn near(seen: [u8; 3], colour: [u8; 3]) -> bool {
        seen.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12)
    }

    #[test]
    fn images_of_each_format_come_in_the_models_size() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let [left, right, below] = corners(&encoded(format));
            assert!(near(left, RED) && near(right, BLUE) && near(below, RED), "{format:?}");
        }
    }

    #[test]
    fn a_photo_taken_sideways_is_turned() {
        let jpeg = encoded(ImageFormat::Jpeg);
        // One entry of Exif: orientation (0x0112), a quarter to the right (6).
        let turned = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let [left, right, below] = corners(&[&jpeg[..2], turned, &jpeg[2..]].concat());
        assert!(near(left, RED) && near(right, RED) && near(below, BLUE));
    }
}
