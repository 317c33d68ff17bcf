package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// gatewayConfig is what the gateway's process reads from its standard input.
// It comes that way because it holds a secret, which must not show in an
// argument list or environment.
type gatewayConfig struct {
	Root     string `json:"root"`
	Sidecar  string `json:"sidecar"`  // where metadata goes if the file system has no extended attributes
	Versions string `json:"versions"` // where the earlier versions of objects go
	Socket   string `json:"socket"`
	Access   string `json:"access"`
	Secret   string `json:"secret"`
	Region   string `json:"region"`
}

// Limits of the embedded gateway.
const (
	gatewayConnections = 512
	gatewayRequests    = 512
	gatewayMaxParts    = 10_000  // S3's own limit, as is the next
	gatewayMaxCopy     = 5 << 30 // bytes of a copy in one call
)

// RunGateway is the gateway's process: it reads its configuration from in,
// serves until ctx ends or in is closed, which happens when the server that
// started it is gone however that ended.
//
// The gateway has a process of its own because its POSIX backend changes the
// process's working directory and keeps global state: inside the server, there
// could be one in a process and relative paths would change their meaning.
func RunGateway(ctx context.Context, in io.Reader) error {
	var c gatewayConfig
	d := json.NewDecoder(in)
	if err := d.Decode(&c); err != nil {
		return fmt.Errorf("reading the gateway's configuration: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// Returns at the end of the input, that is, of the parent.
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	if err := os.MkdirAll(c.Versions, 0o700); err != nil {
		return fmt.Errorf("creating the directory of versions: %w", err)
	}
	opts := posix.PosixOpts{ValidateBucketNames: true, Concurrency: gatewayRequests, IOBufferSize: 256 << 10,
		VersioningDir: c.Versions, CopyObjectThreshold: gatewayMaxCopy}
	opts.SetNewDirPerm(0o700) // the fields alone do not count
	opts.SetNewFilePerm(0o600)
	var store meta.MetadataStorer = meta.XattrMeta{}
	if err := (meta.XattrMeta{}).Test(c.Root); err != nil {
		if err := os.MkdirAll(c.Sidecar, 0o700); err != nil {
			return fmt.Errorf("creating the metadata directory: %w", err)
		}
		side, err := meta.NewSideCar(c.Sidecar)
		if err != nil {
			return fmt.Errorf("opening the metadata directory: %w", err)
		}
		store, opts.SideCarDir = side, c.Sidecar
	}
	be, err := posix.New(c.Root, store, opts)
	if err != nil {
		return fmt.Errorf("opening the object directory: %w", err)
	}
	err = embedgw.RunVersityGW(ctx, be, &embedgw.Config{
		RootUserAccess: c.Access, RootUserSecret: c.Secret, Region: c.Region, Ports: []string{c.Socket}, SocketPerm: "0600",
		MaxConnections: gatewayConnections, MaxRequests: gatewayRequests, MultipartMaxParts: gatewayMaxParts,
		Quiet: true, KeepAlive: true, DisableACLs: true,
	})
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
