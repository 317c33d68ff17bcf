package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spoor/internal/config"
)

// TestSNSCertificate: the pair is kept over starts and renewed before it
// expires; a former certificate is still shown, and nothing else of its
// directory is.
func TestSNSCertificate(t *testing.T) {
	t.Parallel()
	s := &Server{cfg: config.Config{Data: t.TempDir()}}
	dir := filepath.Join(s.cfg.Data, tlsDir)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	first, key, err := loadSNS(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	// A crash just before the certificate had its public name.
	name := snsCertificate + certificateID(first) + ".pem"
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	if same, again, err := loadSNS(dir, now.Add(time.Hour)); err != nil || !same.Equal(first) || !again.Equal(key) {
		t.Errorf("the next start made another certificate, %v", err)
	}
	later := first.NotAfter.Add(-time.Hour)
	second, _, err := loadSNS(dir, later)
	if err != nil || second.Equal(first) || !second.NotAfter.After(later) {
		t.Errorf("not renewed: until %v, %v", second.NotAfter, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_spoor/{name}", s.snsCertificate)
	for path, status := range map[string]int{
		name: http.StatusOK, snsCertificate + certificateID(second) + ".pem": http.StatusOK,
		snsCertificate + strings.Repeat("0", 32) + ".pem": http.StatusNotFound, snsKeyFile: http.StatusNotFound, CAFile: http.StatusNotFound,
		"..%2ftls%2f" + snsKeyFile: http.StatusNotFound, snsCertificate + "..%2fsns.key": http.StatusNotFound,
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/_spoor/"+path, nil))
		if w.Code != status || strings.Contains(w.Body.String(), "PRIVATE") {
			t.Errorf("%s: %d %.40q, want %d", path, w.Code, w.Body, status)
		}
	}
}

// TestSNSNeedsAnAddress: a server that listens everywhere does not know how
// receivers reach it.
func TestSNSNeedsAnAddress(t *testing.T) {
	t.Parallel()
	for addr, ok := range map[string]bool{"0.0.0.0:4566": false, ":4566": false, "[::]:4566": false, "127.0.0.1:0": true, "spoor.example:4566": true} {
		s := &Server{cfg: config.Config{Data: t.TempDir(), HTTP: addr}}
		if _, err := s.snsKey(""); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
		if _, err := s.snsKey("https://spoor.example"); err != nil {
			t.Errorf("%s with a url: %v", addr, err)
		}
	}
}
