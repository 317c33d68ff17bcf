package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"spoor/internal/engine/pebble"
	"spoor/internal/kv"
	"spoor/internal/seal"
	"spoor/internal/server"
)

type keyCmd struct {
	Rotate           keyRotateCmd        `cmd:"" help:"Seal the secrets of a stopped server with a new master key."`
	Retire           keyRetireCmd        `cmd:"" help:"Drop the older master keys that rotate --keep-old left."`
	RotateCheckpoint rotateCheckpointCmd `cmd:"" help:"Give an account of a running server a new key for checkpoints."`
	RotateDigest     rotateDigestCmd     `cmd:"" help:"Give a region of a running server a new key for digests."`

	Show keyShowCmd `cmd:"" help:"Print the master key's id, not the key."`
}

// keyFlags say whose key it is.
type keyFlags struct {
	Data      string `help:"Data directory of the server. To rotate or retire a key the server must be stopped." default:"./data" env:"SPOOR_DATA" type:"path"`
	MasterKey string `help:"Key file in use. Default: the key inside the data directory." env:"SPOOR_MASTER_KEY" type:"path"`
}

func (k keyFlags) file() string {
	if k.MasterKey != "" {
		return k.MasterKey
	}
	return server.DefaultMasterKey(k.Data)
}

// open opens the store and fails where there is none.
func (k keyFlags) open() (*kv.Store, error) {
	dir := filepath.Join(k.Data, "store")
	if err := server.CheckData(k.Data); err != nil {
		return nil, err
	}
	store, err := kv.Open(dir, kv.Options{Merger: pebble.Merger()})
	if errors.Is(err, kv.ErrInUse) {
		return nil, fmt.Errorf("a server runs on %s: stop it, the secrets cannot be sealed anew under it", k.Data)
	}
	return store, err
}

type keyRotateCmd struct {
	keyFlags
	To      string `help:"Move the key to this file, which must not exist; then start the server with --master-key FILE." type:"path" placeholder:"FILE"`
	KeepOld bool   `help:"Keep the older keys in the file, so that session tokens made before stay good until they expire. Not after a key became known: whoever has it can make session tokens."`
}

func (keyRotateCmd) Help() string {
	return "Session tokens made before are refused afterwards, unless --keep-old. A rotation that is interrupted loses nothing: run it again.\n\nExamples:\n" +
		"  spoor key rotate --data ./data\n" +
		"  spoor key rotate --data ./data --to /etc/spoor/master.key    moves the key out of the data directory"
}

// Run rotates.
func (k keyRotateCmd) Run(std streams) (err error) {
	store, err := k.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	from, to := k.file(), k.To
	if to == "" {
		to = from
	}
	r, err := seal.Renew(store, from, to, k.KeepOld, store.Apply)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%d secrets are sealed with the new master key %s, in %s.\n", r.Secrets, r.KeyID, to)
	if k.KeepOld {
		fmt.Fprintf(std.out, "The older keys are kept for session tokens; drop them with: spoor key retire\n")
	} else {
		fmt.Fprintf(std.out, "Session tokens made before are refused from now on.\n")
	}
	if to != from {
		fmt.Fprintf(std.out, "Start the server with --master-key %s. %s opens only copies of the data made before; delete it once there are none.\n", to, from)
	}
	return nil
}

type keyRetireCmd struct{ keyFlags }

func (keyRetireCmd) Help() string {
	return "Session tokens that an older key sealed are refused afterwards. It refuses while a secret still needs an older key.\n\nExample:\n" +
		"  spoor key retire --data ./data"
}

// Run drops the older keys, once it is sure that no secret needs them.
func (k keyRetireCmd) Run(std streams) (err error) {
	store, err := k.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	n, err := seal.RetireOld(store, k.file())
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%d older master keys are dropped from %s.\n", n, k.file())
	return nil
}

type keyShowCmd struct{ keyFlags }

func (keyShowCmd) Help() string {
	return "The server may run. The id is the one that it prints at its start.\n\nExamples:\n" +
		"  spoor key show --data ./data\n" +
		"  spoor key show --master-key /etc/spoor/master.key"
}

// Run prints the key's id.
func (k keyShowCmd) Run(std streams) error {
	s, err := seal.Load(k.file())
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s\t%s\t%d older\n", s.KeyID(), k.file(), s.Older())
	return nil
}
