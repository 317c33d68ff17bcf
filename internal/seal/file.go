package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxKeyFile bounds what is read as a key file, in bytes: a few hundred keys.
const maxKeyFile = 16 << 10

// Load reads the master keys in file: either exactly KeySize raw bytes, or one
// base64 key a line, the newest first. It refuses a file that others than its
// owner may read, and returns an error that wraps fs.ErrNotExist when there is
// none.
func Load(file string) (*Sealer, error) {
	keys, err := readKeys(file)
	if err != nil {
		return nil, err
	}
	return New(keys...)
}

// LoadOrCreate is Load, but makes the file with a new key when it is absent.
// Only for the first start: with data already sealed, a new key would hide
// that the right one is missing.
//
// Crash story: the file appears under its name whole and synced, or not at all.
func LoadOrCreate(file string) (*Sealer, error) {
	s, err := Load(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("creating the key file's directory: %w", err)
	}
	key := newKey()
	if err := writeKeys(file, [][]byte{key}); err != nil {
		return nil, err
	}
	return New(key)
}

// Rotate puts a new master key in front of those in file. Values sealed before
// still open; Rewrap moves them, then Retire drops the old keys.
//
// Crash story: after Rotate the file holds old and new keys, so a rotation
// that stops anywhere before Retire is finished by running it again.
func Rotate(file string) (*Sealer, error) {
	keys, err := readKeys(file)
	if err != nil {
		return nil, err
	}
	keys = append([][]byte{newKey()}, keys...)
	if err := writeKeys(file, keys); err != nil {
		return nil, err
	}
	return New(keys...)
}

// Retire drops all but the newest master key from file. What is sealed with an
// older one, session tokens among it, does not open any more.
func Retire(file string) error {
	keys, err := readKeys(file)
	if err != nil {
		return err
	}
	if len(keys) == 1 {
		return nil
	}
	return writeKeys(file, keys[:1])
}

func newKey() []byte {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // does not fail: it ends the process instead (Go 1.24)
	return key
}

func readKeys(file string) ([][]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("reading the master key: %w", err)
	}
	if m := info.Mode().Perm(); m&0o077 != 0 {
		return nil, fmt.Errorf("the master key %s has mode %04o: nobody but its owner may read it; run: chmod 600 %s", file, m, file)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("the master key %s has %d bytes, more than a key file can have (%d)", file, info.Size(), maxKeyFile)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the master key: %w", err)
	}
	if len(b) == KeySize {
		return [][]byte{b}, nil
	}
	var keys [][]byte
	for i, line := range strings.Split(string(b), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		k, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(k) != KeySize {
			// The line itself may be a secret, so it is not shown.
			return nil, fmt.Errorf("the master key %s, line %d: want %d bytes in base64", file, i+1, KeySize)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the master key %s holds no key", file)
	}
	return keys, nil
}

// writeKeys replaces file: temporary file, sync, rename, sync of the directory.
func writeKeys(file string, keys [][]byte) error {
	var b bytes.Buffer
	for _, k := range keys {
		b.WriteString(base64.StdEncoding.EncodeToString(k))
		b.WriteByte('\n')
	}
	tmp, err := writeSynced(filepath.Dir(file), b.Bytes())
	if err != nil {
		return fmt.Errorf("writing the master key: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return errors.Join(fmt.Errorf("writing the master key: %w", err), os.Remove(tmp))
	}
	if err := syncDir(filepath.Dir(file)); err != nil {
		return fmt.Errorf("writing the master key: %w", err)
	}
	return nil
}

// writeSynced writes a new file in dir, mode 0600, and returns its name.
func writeSynced(dir string, content []byte) (string, error) {
	f, err := os.CreateTemp(dir, ".master-key-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
