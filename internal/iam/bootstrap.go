package iam

import (
	"errors"
	"fmt"
	"regexp"

	"spoor/internal/call"
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
	ch := d.newAccountChange(id, d.store.NewBatch())
	made, err := ch.fillAccount("")
	if err != nil {
		return errors.Join(err, ch.batch.Close())
	}
	if err := commit(made, ch.batch); err != nil {
		return fmt.Errorf("creating account %s: %w", id, err)
	}
	ch.publish()
	return nil
}

// newAccountChange is the change that makes an account. The caller holds d.mu.
func (d *Directory) newAccountChange(id string, batch *kv.Batch) *change {
	return &change{d: d, batch: batch, acc: newAccount(&settings{ID: id, Created: d.wholeSecond()})}
}

// fillAccount makes what an account starts with.
func (ch *change) fillAccount(alias string) (Bootstrap, error) {
	id, now := ch.acc.settings.ID, ch.acc.settings.Created
	root, key := ch.newKey(), ch.newKey()
	cred, password := ch.d.newServiceCredential(CQLService, AdminUser+"-at-"+id)
	s := &settings{ID: id, Created: now, Alias: alias, RootKeys: []accessKey{root}}
	u := &user{ID: newID(prefixUser), Name: AdminUser, Path: "/", Created: now, Keys: []accessKey{key},
		Credentials: []serviceCredential{cred}, grants: grants{Attached: []string{managedARN("AdministratorAccess")}}}
	made := Bootstrap{Account: id, RootAccessKeyID: root.ID, RootSecret: root.secret, AdminKeyID: key.ID, AdminSecret: key.secret,
		CQLUser: cred.UserName, CQLPassword: password}
	return made, errors.Join(ch.setSettings(s), ch.setUser(nil, u))
}

// aliasName is the form of an account alias (IAM API reference,
// CreateAccountAlias).
var aliasName = regexp.MustCompile(`^[a-z0-9](([a-z0-9]|-[a-z0-9]){1,61}[a-z0-9])$`)

// CreateAccount is Bootstrap for a call of a running server: the account and the
// call's record become durable together. keep gets the credentials before.
//
// Crash story: what keep has kept of an account that did not become durable is
// replaced when the account is made after all.
func (d *Directory) CreateAccount(c *call.Call, id, alias string, keep func(Bootstrap) error) error {
	if !accountID.MatchString(id) {
		return validationError("The account id %s is not 12 digits.", id)
	}
	if alias != "" && (!aliasName.MatchString(alias) || accountID.MatchString(alias)) {
		return validationError("The account alias is invalid: 3 to 63 lower-case letters, digits and single dashes, and no account id.")
	}
	c.Tx.Lock(&d.mu)
	for have, a := range d.current.Load().accounts {
		if have == id {
			return alreadyExists("The account %s already exists.", id)
		}
		if alias != "" && a.settings.Alias == alias {
			return alreadyExists("The account alias %s already exists.", alias)
		}
	}
	ch := d.newAccountChange(id, c.Tx.Batch())
	made, err := ch.fillAccount(alias)
	if err != nil {
		return err
	}
	if err := keep(made); err != nil {
		return err
	}
	c.Tx.OnCommit(ch.publish)
	return nil
}
