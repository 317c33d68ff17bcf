package durable

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSettleAndSweep: a file gets its name with its bytes, and of what lies
// below the root only the named files stay.
func TestSettleAndSweep(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "root")
	dir := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	part, path := filepath.Join(dir, "x.part"), filepath.Join(dir, "x")
	for _, name := range []string{part, filepath.Join(dir, "left.part"), filepath.Join(root, "left")} {
		if err := os.WriteFile(name, []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	size, err := Settle(part, path, root)
	if err != nil || size != 4 {
		t.Fatal(size, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	if _, err := Settle(part, path, root); err == nil {
		t.Error("a file that is not there was settled")
	}
	if err := Sweep(root, func(rel string) bool { return rel == filepath.Join("a", "b", "x") }); err != nil {
		t.Fatal(err)
	}
	var left []string
	if err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0] != path {
		t.Errorf("left: %q", left)
	}
	if err := Sweep(filepath.Join(root, "none"), func(string) bool { return false }); err != nil {
		t.Errorf("a root that is not there: %v", err)
	}
	if err := Remove(part); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}
