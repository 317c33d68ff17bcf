package iam

import (
	"slices"
	"strings"
	"testing"

	"spoor/internal/aws"
)

// FuzzIssuerURL: what is taken for an issuer makes the ARN of a provider that
// is found again.
func FuzzIssuerURL(f *testing.F) {
	for _, s := range []string{"https://idp.example.com", "https://idp.example.com/realm/", "https://[::1]", "https://a@b", "https://a:1", "http://a", "https://é.example/%2F"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := issuerURL(text)
		if err != nil {
			return
		}
		again, err := issuerURL("https://" + name)
		if err != nil || again != strings.TrimSuffix(name, "/") {
			t.Errorf("%q is %q, and that %q (%v)", text, name, again, err)
		}
		if p, err := aws.ParseARN("arn:aws:iam::111122223333:oidc-provider/" + name); err != nil || p.Resource != "oidc-provider/"+name {
			t.Errorf("%q makes the ARN %v (%v)", text, p, err)
		}
	})
}

// FuzzMarker: whatever marker a client sends, a page is a run of the list, and
// the pages from there on give each of the rest once.
func FuzzMarker(f *testing.F) {
	items := []string{"a", "b", "c", "d", "e"}
	f.Add("", int32(2))
	f.Add("Yg", int32(1))
	f.Add("!", int32(1))
	f.Fuzz(func(t *testing.T, marker string, size int32) {
		var got []string
		m := &marker
		for range len(items) + 1 {
			part, next, err := page(items, m, &size, func(s string) string { return s })
			if err != nil {
				return
			}
			if len(part) > int(size) {
				t.Fatalf("%d items on a page of %d", len(part), size)
			}
			got = append(got, part...)
			if m = next; m == nil {
				break
			}
		}
		if m != nil || len(got) > len(items) || !slices.Equal(got, items[len(items)-len(got):]) {
			t.Errorf("the pages from %q on gave %q", marker, got)
		}
	})
}

// FuzzInvalidValue: a message about any value stays an error of validation.
func FuzzInvalidValue(f *testing.F) {
	f.Add("1 validation error detected: Value 'a b' at 'userName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]+")
	f.Add("2 validation errors detected: x")
	f.Fuzz(func(t *testing.T, message string) {
		if e := aws.AsError(invalidValue(message)); e.Code != "ValidationError" || e.Kind != aws.Invalid {
			t.Errorf("%q makes %v", message, e)
		}
	})
}
