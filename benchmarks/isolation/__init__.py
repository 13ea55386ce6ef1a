"""What healthy endpoints lose when others hang."""
