# Headers, libraries and a package config: find_package(strobe), then link strobe::attention.
