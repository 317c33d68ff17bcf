package server

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"spoor/internal/bridge"
	"spoor/internal/iam"
	"spoor/internal/notify"
	"spoor/internal/trail"
)

// Names of what SNS messages are signed with, under DIR/tls. The certificates
// stay after a new one is made: a receiver may check a message late.
const (
	snsFile        = "sns.pem"
	snsKeyFile     = "sns.key"
	snsCertificate = "SimpleNotificationService-" // and an id and .pem, as SNS names it
	snsLifetime    = 2 * 365 * 24 * time.Hour
	deadLetters    = "dead-letters.jsonl"
)

// openNotify reads the file of --notifications and prepares what it declares.
func (s *Server) openNotify() error {
	conf := notify.Config{DeadLetters: filepath.Join(s.cfg.Data, deadLetters), Store: s.store, Commit: s.journal, Log: s.log, Now: time.Now}
	if s.cfg.Notifications != "" {
		var err error
		if conf.Settings, err = notify.ReadSettings(s.cfg.Notifications); err != nil {
			return fmt.Errorf("--notifications: %w", err)
		}
		if len(conf.Settings.Topics) > 0 {
			if conf.SNS, err = s.snsKey(conf.Settings.URL); err != nil {
				return err
			}
			s.sns = conf.SNS
		}
	}
	var err error
	if s.notify, err = notify.Open(conf); err != nil {
		return fmt.Errorf("--notifications: %w", err)
	}
	if err := s.openRules(conf.Settings); err != nil {
		return fmt.Errorf("--notifications: %w", err)
	}
	return nil
}

// openRules prepares the targets of rules. Where there is none, it still
// removes what former ones have kept of the journal.
func (s *Server) openRules(settings *notify.Settings) error {
	conf := bridge.Config{Journal: s.journal, Store: s.store, Log: s.log, Now: time.Now}
	if settings != nil {
		dir, err := filepath.Abs(filepath.Dir(s.cfg.Notifications))
		if err != nil {
			return err
		}
		if conf.Rules, err = bridge.Parse(settings.Rules, dir); err != nil {
			return err
		}
	}
	loops, err := bridge.Loops(conf)
	if err != nil {
		return err
	}
	for _, l := range loops {
		s.notify.Add(l)
	}
	return nil
}

// snsKey reads or makes the key that SNS messages are signed with.
func (s *Server) snsKey(base string) (*notify.SNSKey, error) {
	host, _, err := net.SplitHostPort(s.cfg.HTTP)
	if err != nil {
		return nil, fmt.Errorf("reading --http: %w", err)
	}
	if ip := net.ParseIP(host); base == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return nil, errors.New("--notifications: url: say how receivers reach this server, as --http listens on all addresses")
	}
	cert, key, err := loadSNS(filepath.Join(s.cfg.Data, tlsDir), time.Now())
	if err != nil {
		return nil, err
	}
	// The address may not be known before the server listens: see runNotify.
	return &notify.SNSKey{Private: key, BaseURL: base, CertificateURL: "/_spoor/" + snsCertificate + certificateID(cert) + ".pem"}, nil
}

// runNotify starts to send, once the server can be asked for the certificate.
func (s *Server) runNotify(context.Context) error {
	if s.sns != nil {
		if s.sns.BaseURL == "" {
			s.sns.BaseURL = "https://" + s.ends.HTTP
		}
		s.sns.CertificateURL = s.sns.BaseURL + s.sns.CertificateURL
	}
	s.goes("notifications", func() error { return s.notify.Run(s.readers) })
	return nil
}

// loadSNS reads the signing pair from dir, or makes one that the server's CA
// signs when there is none or it expires soon.
//
// Crash story: as for the server's pair. The certificate is written under its
// public name last, which each start does again if need be.
func loadSNS(dir string, now time.Time) (*x509.Certificate, *rsa.PrivateKey, error) {
	ca, caKey, err := loadCA(dir, now)
	if err != nil {
		return nil, nil, err
	}
	cert, key, err := loadPair(dir, snsFile, snsKeyFile)
	if err != nil || now.Add(renewBefore).After(cert.NotAfter) || cert.CheckSignatureFrom(ca) != nil {
		tmpl := &x509.Certificate{Subject: pkix.Name{CommonName: "Spoor notifications"}, KeyUsage: x509.KeyUsageDigitalSignature, NotAfter: now.Add(snsLifetime)}
		if cert, key, err = issue(dir, snsFile, snsKeyFile, tmpl, ca, caKey, now); err != nil {
			return nil, nil, err
		}
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("%s is not an RSA key", filepath.Join(dir, snsKeyFile))
	}
	public := filepath.Join(dir, snsCertificate+certificateID(cert)+".pem")
	if _, err := os.Stat(public); errors.Is(err, fs.ErrNotExist) {
		err = writeFile(public, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
		if err != nil {
			return nil, nil, err
		}
	}
	return cert, private, nil
}

func certificateID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:16])
}

var snsCertificateName = regexp.MustCompile(`^` + snsCertificate + `[0-9a-f]{32}\.pem$`)

// snsCertificate shows a certificate that SNS messages are, or were, signed with.
func (s *Server) snsCertificate(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !snsCertificateName.MatchString(name) {
		http.NotFound(w, r)
		return
	}
	body, err := os.ReadFile(filepath.Join(s.cfg.Data, tlsDir, name))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// trailRoles are the roles that trails send to log groups with.
type trailRoles struct{ directory *iam.Directory }

var _ trail.Roles = trailRoles{}

func (t trailRoles) MayAssume(role, trailARN, account string) (bool, error) {
	return t.directory.ServiceMayAssume(role, iam.ServiceUse{Service: trail.ServicePrincipal, SourceARN: trailARN, SourceAccount: account})
}

func (t trailRoles) May(role string, use trail.RoleUse) (bool, error) {
	return t.directory.RoleMay(role, iam.RoleUse{Action: use.Action, Resource: use.Resource, Owner: use.Owner, Document: use.Document,
		ServiceUse: iam.ServiceUse{Service: trail.ServicePrincipal, SourceARN: use.SourceARN, SourceAccount: use.Account}})
}
