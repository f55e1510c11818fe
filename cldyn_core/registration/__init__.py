"""The infrared image on the visible one's pixels: by a homography or a calibration, and how these are found."""
