package seal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/kv"
)

// vault is a store with secrets, on a file system that can crash, and the file
// of its master key, which is on the real one.
type vault struct {
	t     testing.TB
	fs    *vfs.MemFS
	store *kv.Store
	file  string
}

const secrets = 5

func secretKeyOf(i int) []byte { return kv.Key(kv.SpaceSecret, "test", fmt.Sprint(i)) }

func newVault(t testing.TB) *vault {
	t.Helper()
	v := &vault{t: t, fs: vfs.NewCrashableMem(), file: filepath.Join(t.TempDir(), "master.key")}
	v.open()
	s, err := ForStore(v.store, v.file)
	if err != nil {
		t.Fatal(err)
	}
	b := v.store.NewBatch()
	for i := range secrets {
		s.Put(b, secretKeyOf(i), []byte(fmt.Sprint("secret ", i)))
	}
	if err := commitSynced(b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func (v *vault) open() {
	v.t.Helper()
	var err error
	if v.store, err = kv.Open("store", kv.Options{FS: v.fs}); err != nil {
		v.t.Fatal(err)
	}
}

// crash loses what was not synced.
func (v *vault) crash() {
	v.t.Helper()
	clone := v.fs.CrashClone(vfs.CrashCloneCfg{})
	if err := v.store.Close(); err != nil {
		v.t.Fatal(err)
	}
	v.fs = clone
	v.open()
}

func commitSynced(b *kv.Batch) error { return errors.Join(b.Raw().Commit(pebble.Sync), b.Close()) }

// check opens every secret with the key file.
func (v *vault) check(what, file string) *Sealer {
	v.t.Helper()
	s, err := ForStore(v.store, file)
	if err != nil {
		v.t.Fatalf("%s: %v", what, err)
	}
	for i := range secrets {
		got, err := s.Get(v.store, secretKeyOf(i))
		if err != nil || string(got) != fmt.Sprint("secret ", i) {
			v.t.Fatalf("%s: secret %d is %q, %v", what, i, got, err)
		}
	}
	return s
}

func TestRenew(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		v := newVault(t)
		old := v.check("before", v.file)
		token := old.Seal("token", []byte("session"))
		r, err := Renew(v.store, v.file, v.file, keep, commitSynced)
		if err != nil {
			t.Fatal(err)
		}
		v.crash()
		s := v.check("after", v.file)
		if r.Secrets != secrets || r.KeyID != s.KeyID() || s.KeyID() == old.KeyID() {
			t.Errorf("keep=%v: the renewal is %+v, the key %s", keep, r, s.KeyID())
		}
		_, err = s.Open("token", token)
		if keep && err != nil || !keep && !errors.Is(err, ErrUnknownKey) {
			t.Errorf("keep=%v: a token of before: %v", keep, err)
		}
		if want := map[bool]int{true: 1, false: 0}[keep]; s.Older() != want {
			t.Errorf("keep=%v: %d older keys are left, want %d", keep, s.Older(), want)
		}
		// The old key alone opens nothing any more.
		for i := range secrets {
			if _, err := old.Get(v.store, secretKeyOf(i)); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("keep=%v: the old key on secret %d: %v", keep, i, err)
			}
		}
	}
}

func TestRenewIntoAnotherFile(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	to := filepath.Join(t.TempDir(), "outside", "master.key")
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Renew(v.store, v.file, to, false, commitSynced); err != nil {
		t.Fatal(err)
	}
	v.check("with the new file", to)
	if _, err := ForStore(v.store, v.file); !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), "--master-key") {
		t.Errorf("with the old file: %v", err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the new file: %v, %v", info.Mode(), err)
	}
	other := newVault(t)
	if _, err := Renew(other.store, other.file, to, false, commitSynced); err == nil {
		t.Error("a file with other keys is overwritten")
	}
	v.check("after the refusal", to)
}

// TestRenewCrashes stops a renewal at each of its steps: the secrets open at
// every moment, with what the crash left, and a second run finishes it.
func TestRenewCrashes(t *testing.T) {
	t.Parallel()
	errStop := errors.New("stopped")
	for name, tt := range map[string]struct {
		commit func(*kv.Batch) error
		// after crashes once more, before or after the retirement.
		unsynced bool
	}{
		"after the file, before the batch": {commit: func(b *kv.Batch) error { return errors.Join(errStop, b.Close()) }},
		"in the batch, not synced": {commit: func(b *kv.Batch) error {
			return errors.Join(errStop, b.Raw().Commit(pebble.NoSync), b.Close())
		}, unsynced: true},
		"after the batch, which was reported failed": {commit: func(b *kv.Batch) error { return errors.Join(errStop, commitSynced(b)) }},
	} {
		for _, elsewhere := range []bool{false, true} {
			v := newVault(t)
			to := v.file
			if elsewhere {
				to = filepath.Join(t.TempDir(), "other.key")
			}
			before := v.check("before", v.file).KeyID()
			if _, err := Renew(v.store, v.file, to, false, tt.commit); !errors.Is(err, errStop) {
				t.Fatalf("%s: %v", name, err)
			}
			v.crash()
			s := v.check(name, to)
			if s.KeyID() == before || s.Older() != 1 {
				t.Errorf("%s: the key is %s with %d older ones", name, s.KeyID(), s.Older())
			}
			// A server that runs in between writes with the new key.
			b := v.store.NewBatch()
			s.Put(b, secretKeyOf(0), []byte("secret 0"))
			if err := commitSynced(b); err != nil {
				t.Fatal(err)
			}
			from := to // as the operator is told
			if _, err := Renew(v.store, from, to, false, commitSynced); err != nil {
				t.Fatalf("%s: the second run: %v", name, err)
			}
			v.crash()
			if s := v.check(name+", finished", to); s.Older() != 0 {
				t.Errorf("%s: %d old keys are left", name, s.Older())
			}
		}
	}
}

// TestRenewIsRunAgainAsBefore repeats the very command that was interrupted.
func TestRenewIsRunAgainAsBefore(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	to := filepath.Join(t.TempDir(), "other.key")
	errStop := errors.New("stopped")
	if _, err := Renew(v.store, v.file, to, false, func(b *kv.Batch) error { return errors.Join(errStop, b.Close()) }); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	began := v.check("interrupted", to).KeyID()
	v.check("interrupted, with the old file", v.file)
	if _, err := Renew(v.store, v.file, to, false, commitSynced); err != nil {
		t.Fatal(err)
	}
	if s := v.check("finished", to); s.KeyID() != began || s.Older() != 0 {
		t.Errorf("the second run made another key, or left %d", s.Older())
	}
}

func TestForStore(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	if err := os.Remove(v.file); err != nil {
		t.Fatal(err)
	}
	if _, err := ForStore(v.store, v.file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its file: %v", err)
	}
	if _, err := os.Stat(v.file); !errors.Is(err, os.ErrNotExist) {
		t.Error("a new key hides that the right one is missing")
	}
}

func TestRetireOld(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	errStop := errors.New("stopped")
	if _, err := Renew(v.store, v.file, v.file, false, func(b *kv.Batch) error { return errors.Join(errStop, b.Close()) }); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	if _, err := RetireOld(v.store, v.file); err == nil {
		t.Fatal("the key that the secrets are sealed with is dropped")
	}
	v.check("after the refusal", v.file)
	if _, err := Renew(v.store, v.file, v.file, true, commitSynced); err != nil {
		t.Fatal(err)
	}
	if n, err := RetireOld(v.store, v.file); n != 2 || err != nil {
		t.Errorf("%d older keys are dropped, %v; want 2", n, err)
	}
	v.check("after the retirement", v.file)
}
