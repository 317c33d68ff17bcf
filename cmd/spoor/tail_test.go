package main

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestFollow: a stream's end is an error that says where to go on.
func TestFollow(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	lines := `{"seq":7,"event":{"eventName":"A"}}` + "\n" + `{"seq":9}` + "\n"
	err := tailCmd{JSON: true}.follow(strings.NewReader(lines), &out)
	if !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "--after 9 goes on") {
		t.Error(err)
	}
	if want := lines[:strings.IndexByte(lines, '\n')+1]; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if err := (tailCmd{}).follow(strings.NewReader("x\n"), io.Discard); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("no record: %v", err)
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"__type":"ValidationException","message":"\"foo\" is no condition"}`: `"foo" is no condition`,
		`{"__type":"AccessDeniedException"}`:                                   `403 Forbidden {"__type":"AccessDeniedException"}`,
		"not JSON":                                                             "403 Forbidden not JSON",
	} {
		if got := refusal("403 Forbidden", []byte(body)); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}
