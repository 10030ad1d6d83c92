"""The codecs: from pictures to the bytes of an .nvc file and back."""
