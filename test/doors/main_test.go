package doors

import (
	"os"
	"testing"

	"spoor/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
