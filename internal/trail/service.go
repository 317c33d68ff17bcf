package trail

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"
	"time"

	"spoor/internal/policy"
)

// ServiceGrant is something that CloudTrail itself does on a resource, for one
// of an account's resources.
type ServiceGrant struct {
	Action   string
	Resource string        // ARN
	Owner    string        // account of the resource
	Account  string        // account of the source
	Source   string        // ARN of the trail, event data store or dashboard that it is done for
	Context  policy.Values // more condition keys, lower-cased
}

// Allowed reports whether a resource's policy lets CloudTrail do it. A resource
// without a policy lets CloudTrail do nothing.
func (g *ServiceGrant) Allowed(document string) (bool, error) {
	if strings.TrimSpace(document) == "" {
		return false, nil
	}
	p, err := policy.Parse(document, policy.Resource)
	if err != nil {
		return false, fmt.Errorf("reading the policy of %s: %w", g.Resource, err)
	}
	ctx := policy.Values{
		"aws:sourcearn":             {g.Source},
		"aws:sourceaccount":         {g.Account},
		"aws:principalisawsservice": {"true"},
		"aws:principalservicename":  {ServicePrincipal},
		"aws:securetransport":       {"true"},
		"aws:viaawsservice":         {"false"},
		"aws:resourceaccount":       {g.Owner},
		"s3:resourceaccount":        {g.Owner},
	}
	maps.Copy(ctx, g.Context)
	d := policy.Evaluate(&policy.Request{
		Principal: policy.Principal{Service: ServicePrincipal}, Action: g.Action, Resource: g.Resource, Context: ctx,
	}, &policy.Input{Resource: p, ResourceAccount: g.Owner})
	return d.Allowed, nil
}

// SignText signs a text with a region's key, as SHA256withRSA: what is signed
// beside the digests. The fingerprint is that of the public key, which
// PublicKeys lists.
func (m *Manager) SignText(region string, at time.Time, text string) (signature []byte, fingerprint string, err error) {
	key, err := m.keys.signer(region, at)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256([]byte(text))
	signature, err = rsa.SignPKCS1v15(rand.Reader, key.private, crypto.SHA256, sum[:])
	if err != nil {
		return nil, "", fmt.Errorf("signing: %w", err)
	}
	return signature, key.Fingerprint, nil
}
