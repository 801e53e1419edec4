"""Clips: folders of frames and video files, and the pixels that they become."""
