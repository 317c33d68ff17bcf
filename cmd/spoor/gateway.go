package main

import (
	"context"
	"os"

	"spoor/internal/objects"
)

// gatewayCmd is the embedded object gateway's process, which the server starts.
type gatewayCmd struct{}

// Run serves until the server's end of standard input closes.
func (gatewayCmd) Run(ctx context.Context) error { return objects.RunGateway(ctx, os.Stdin) }
