package iam

import (
	"errors"
	"fmt"
	"regexp"

	"spoor/internal/kv"
)

// AdminUser is the IAM user that an account starts with.
const AdminUser = "admin"

// Bootstrap is what a new account starts with. The secrets are shown here and
// never again.
type Bootstrap struct {
	Account         string
	RootAccessKeyID string
	RootSecret      string
	AdminKeyID      string
	AdminSecret     string
	CQLUser         string // "admin-at-<account>"
	CQLPassword     string
}

var accountID = regexp.MustCompile(`^\d{12}$`)

// ErrAccountExists answers the bootstrap of an account that is there.
var ErrAccountExists = errors.New("iam: the account exists")

// Bootstrap creates an account with a root access key and an IAM user that has
// AdministratorAccess, an access key and a credential for CQL. commit gets what
// was made and the batch of writes; it hands the credentials to their owner
// first, then takes the batch over and makes it durable.
//
// Crash story: everything is in the one batch. Before it is durable the account
// does not exist and the next start makes other credentials; after it is, the
// credentials are where commit put them.
func (d *Directory) Bootstrap(id string, commit func(Bootstrap, *kv.Batch) error) error {
	if !accountID.MatchString(id) {
		return fmt.Errorf("iam: %q is not an account id of 12 digits", id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.HasAccount(id) {
		return fmt.Errorf("%w: %s", ErrAccountExists, id)
	}
	now := d.wholeSecond()
	ch := &change{d: d, batch: d.store.NewBatch(), acc: newAccount(&settings{ID: id, Created: now})}
	root, key := ch.newKey(), ch.newKey()
	cred, password := d.newServiceCredential(CQLService, AdminUser+"-at-"+id)
	s := &settings{ID: id, Created: now, RootKeys: []accessKey{root}}
	u := &user{ID: newID(prefixUser), Name: AdminUser, Path: "/", Created: now, Keys: []accessKey{key},
		Credentials: []serviceCredential{cred}, grants: grants{Attached: []string{managedARN("AdministratorAccess")}}}
	if err := errors.Join(ch.setSettings(s), ch.setUser(nil, u)); err != nil {
		return errors.Join(err, ch.batch.Close())
	}
	made := Bootstrap{Account: id, RootAccessKeyID: root.ID, RootSecret: root.secret, AdminKeyID: key.ID, AdminSecret: key.secret,
		CQLUser: cred.UserName, CQLPassword: password}
	if err := commit(made, ch.batch); err != nil {
		return fmt.Errorf("creating account %s: %w", id, err)
	}
	ch.publish()
	return nil
}
