package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"spoor/internal/config"
	"spoor/internal/kv"
	"spoor/internal/server"
)

type serveCmd struct {
	config.Config
}

func (serveCmd) Help() string {
	return "Examples:\n" +
		"  spoor serve\n" +
		"  spoor serve --data /var/lib/spoor --http 127.0.0.1:4566 --delivery-interval 5s\n" +
		"  spoor serve --notifications notifications.json\n" +
		"  spoor serve --trail-retention COMPLIANCE:365\n" +
		"  SPOOR_REGION=eu-central-1 spoor serve --data-events always"
}

// Run serves until the context ends.
func (s serveCmd) Run(ctx context.Context, std streams) error {
	if err := s.Validate(); err != nil {
		return &exitError{exitUnknown, fmt.Errorf("the configuration is wrong:\n%w", err)}
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		return &exitError{exitUnknown, err}
	}
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: level}))
	privateFiles()
	srv, err := server.Start(ctx, s.Config, log)
	if errors.Is(err, kv.ErrInUse) {
		return fmt.Errorf("a server runs on %s already: stop it first, or give --data another directory", s.Data)
	}
	if err != nil {
		return err
	}
	fmt.Fprint(std.out, srv.Welcome())
	select {
	case <-ctx.Done():
		fmt.Fprintln(std.out, "Stopping: finishing the calls under way.")
		return srv.Stop()
	case err := <-srv.Failed():
		// Half a server would refuse calls one by one; whoever supervises this
		// process restarts it whole, and recovery reads the truth from disk.
		return errors.Join(fmt.Errorf("a part of the server failed, so it stops: %w", err), srv.Stop())
	}
}
