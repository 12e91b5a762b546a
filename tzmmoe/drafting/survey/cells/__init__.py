"""How the cells of columns are written, and the columns as their cells mean them."""
