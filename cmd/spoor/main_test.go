package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestWrongUse: what is wrong, and the command whose help says what is right.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args        string
		wrong, help string
	}{
		{"srve", `did you mean "serve"?`, "See spoor --help."},
		{"verify --output yaml", "--output must be one of", "See spoor verify --help."},
		{"verify --start-time yesterday", "--start-time", "See spoor verify --help."},
		{"key rotate --foo", "unknown flag --foo", "See spoor key rotate --help."},
		{"account add", `expected "<id>"`, "See spoor account add --help."},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			if code := run(t.Context(), strings.Fields(tt.args), streams{&out, &errs}); code != exitUnknown {
				t.Errorf("exit code %d, want %d", code, exitUnknown)
			}
			if got := errs.String(); !strings.Contains(got, tt.wrong) || !strings.HasSuffix(got, tt.help+"\n") {
				t.Errorf("got %q, want %q and %q", got, tt.wrong, tt.help)
			}
		})
	}
}
