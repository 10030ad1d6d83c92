"""Files <-> pictures: Pillow and imageio behind one door. No torch."""
