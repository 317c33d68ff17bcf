package main

import (
	"context"
	"fmt"

	"spoor/internal/server"
)

// rotateFlags say whose key it is.
type rotateFlags struct {
	Data    string `help:"Data directory of the server, which must run." default:"./data" env:"SPOOR_DATA" type:"path"`
	Account string `help:"Account whose admin asks. Default: the server's." placeholder:"ID"`
}

func (f rotateFlags) ask(ctx context.Context, in server.KeyRotation) (server.KeyRotation, error) {
	creds, ends, err := server.ReadEnvironment(f.Data)
	if err != nil {
		return in, err
	}
	p, err := profileOf(creds, ends, f.Account, "admin")
	if err != nil {
		return in, err
	}
	var out server.KeyRotation
	return out, ask(ctx, ends, p, "/_spoor/keys", "cloudtrail", in, &out, "start it: the rotation is a call that leaves a record")
}

type rotateCheckpointCmd struct{ rotateFlags }

func (rotateCheckpointCmd) Help() string {
	return "The old key signs an announcement of the new one, which every digest carries from then on, and is forgotten: " +
		"who has either key can verify the trails. After a key became known, hand out the new one and no longer trust the old.\n\nExample:\n" +
		"  spoor key rotate-checkpoint --data ./data > spoor.pub"
}

// Run prints the new public key.
func (k rotateCheckpointCmd) Run(ctx context.Context, std streams) error {
	out, err := k.ask(ctx, server.KeyRotation{Kind: server.CheckpointKind})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, out.Key)
	return err
}

type rotateDigestCmd struct {
	rotateFlags
	Region string `help:"Region whose key it is. Default: the server's." placeholder:"NAME"`
}

func (rotateDigestCmd) Help() string {
	return "A region's digests are signed with one key, of all its accounts; it is renewed every year by itself. ListPublicKeys shows the " +
		"keys of a time, so digests before and after validate as they did.\n\nExample:\n  spoor key rotate-digest --data ./data --region eu-west-1"
}

// Run prints the new key's fingerprint.
func (k rotateDigestCmd) Run(ctx context.Context, std streams) error {
	out, err := k.ask(ctx, server.KeyRotation{Kind: server.DigestKind, Region: k.Region})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s\tsigns the digests of %s\n", out.Key, out.Region)
	return err
}
