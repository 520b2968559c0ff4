module plugin.local/@name@

go 1.25

require watchkeeper v0.0.0

replace watchkeeper => ./sdk
