package kv

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestRows(t *testing.T) {
	t.Parallel()
	s, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	type row struct {
		Version int
		Name    string
	}
	b := s.NewBatch()
	b.Set([]byte("good"), MustJSON(row{2, "a"}))
	b.Set([]byte("bad"), []byte("{"))
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key   string
		knows int
		found bool
		fails bool
	}{{"good", 2, true, false}, {"good", 1, true, true}, {"good", 3, true, true}, {"bad", 2, true, true}, {"none", 2, false, false}} {
		var r row
		found, err := s.GetRow([]byte(tt.key), &r, &r.Version, tt.knows)
		if found != tt.found || (err != nil) != tt.fails || found && !tt.fails && r.Name != "a" {
			t.Errorf("%s, version %d: %+v, %v, %v", tt.key, tt.knows, r, found, err)
		}
	}
}
