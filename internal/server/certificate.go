package server

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Names of the TLS material under DIR/tls.
const (
	CAFile        = "ca.pem"
	caKeyFile     = "ca.key"
	serverFile    = "server.pem"
	serverKeyFile = "server.key"
)

// keyBits is the size of the RSA keys. RSA, as AWS's endpoints have, because
// clients that still speak TLS 1.2 may be limited to its suites.
const keyBits = 2048

const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	serverLifetime = 397 * 24 * time.Hour // the longest that common clients accept
	renewBefore    = 30 * 24 * time.Hour
)

// loadTLS reads the server certificate from dir, making a CA and a certificate
// signed by it when there are none, and a new certificate when the present one
// expires soon or lacks a name.
//
// Crash story: each file is written whole under another name, synced and
// renamed. The key is written before its certificate, so a certificate on disk
// always has its key; a pair that does not match is made again.
func loadTLS(dir string, hosts []string, now time.Time) (*tls.Config, error) {
	ca, caKey, err := loadCA(dir, now)
	if err != nil {
		return nil, err
	}
	cert, key, err := loadPair(dir, serverFile, serverKeyFile)
	if err != nil || stale(cert, ca, hosts, now) {
		cert, key, err = makeServer(dir, ca, caKey, hosts, now)
	}
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{
			Certificate: [][]byte{cert.Raw, ca.Raw}, PrivateKey: key, Leaf: cert,
		}},
	}, nil
}

// loadCA reads the CA from dir, or makes it when there is none.
func loadCA(dir string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("creating %s: %w", dir, err)
	}
	ca, key, err := loadPair(dir, CAFile, caKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return makeCA(dir, now)
	}
	return ca, key, err
}

func stale(cert, ca *x509.Certificate, hosts []string, now time.Time) bool {
	if now.Add(renewBefore).After(cert.NotAfter) || cert.CheckSignatureFrom(ca) != nil {
		return true
	}
	for _, h := range hosts {
		if cert.VerifyHostname(h) != nil {
			return true
		}
	}
	return false
}

func makeCA(dir string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Spoor local CA"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotAfter:              now.Add(caLifetime),
	}
	return issue(dir, CAFile, caKeyFile, tmpl, nil, nil, now)
}

func makeServer(dir string, ca *x509.Certificate, caKey crypto.Signer, hosts []string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	tmpl := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "Spoor server"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotAfter:    now.Add(serverLifetime),
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	return issue(dir, serverFile, serverKeyFile, tmpl, ca, caKey, now)
}

// issue makes a key and a certificate signed by the given CA, or by itself.
func issue(dir, certName, keyName string, tmpl, ca *x509.Certificate, caKey crypto.Signer, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	if ca == nil {
		ca, caKey = tmpl, crypto.Signer(key)
	}
	if tmpl.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, nil, fmt.Errorf("making a serial number: %w", err)
	}
	tmpl.NotBefore = now.Add(-time.Hour) // clients' clocks differ
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, key.Public(), caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("reading a new certificate: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	if err := writeFile(filepath.Join(dir, keyName), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})); err != nil {
		return nil, nil, err
	}
	return cert, key, writeFile(filepath.Join(dir, certName), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// loadPair reads a certificate and its key. A missing file is fs.ErrNotExist.
func loadPair(dir, certName, keyName string) (*x509.Certificate, crypto.Signer, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certName), filepath.Join(dir, keyName))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the TLS pair %s: %w", filepath.Join(dir, certName), err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("%s is not a signing key", filepath.Join(dir, keyName))
	}
	return pair.Leaf, key, nil
}

// writeFile writes a file with mode 0600 so that a crash leaves the old
// content or the new, never a part.
func writeFile(name string, data []byte) error {
	tmp := name + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, werr := f.Write(data)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := os.Rename(tmp, name); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
