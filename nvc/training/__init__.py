"""From folders of pictures to weight files: data, losses, the loop, export."""
