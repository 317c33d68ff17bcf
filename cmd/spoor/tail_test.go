package main

import "testing"

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
