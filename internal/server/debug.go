package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
)

// openDebug serves profiles on a listener of their own: they show what is in
// memory, so they are never on an address that clients reach.
func (s *Server) openDebug(context.Context) error {
	if s.cfg.Debug == "" {
		return nil
	}
	l, err := net.Listen("tcp", s.cfg.Debug)
	if err != nil {
		return fmt.Errorf("listening for profiles: %w; --debug takes another address", err)
	}
	s.ends.Debug = l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s.debug = &http.Server{Handler: mux, ReadHeaderTimeout: s.cfg.ClientTimeout}
	s.goes("profiles", func() error {
		if err := s.debug.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}
