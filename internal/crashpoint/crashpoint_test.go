package crashpoint

import (
	"testing"
)

// TestOff holds for the build that is delivered: a point costs nothing and does
// nothing, whatever the environment says.
func TestOff(t *testing.T) {
	if Enabled {
		t.Skip("built with crash points")
	}
	t.Setenv("SPOOR_CRASH_AT", "here")
	Here("here")
	if n := testing.AllocsPerRun(10, func() { Here("here") }); n != 0 {
		t.Errorf("a point allocates %v times", n)
	}
}
