"""What is heard and what is recorded; PortAudio is loaded in processes of their own, which a device may take down."""
