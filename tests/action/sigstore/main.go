// Signs files as Sigstore does for a GitHub workflow, with authorities of its own and without a network. The real cosign verifies
// what it writes.
//
// usage: sigstore TRUSTED-ROOT
//
// Writes the trusted root of its authorities to that file. Then it reads requests from stdin, one on each line, with tabs between the
// fields: the identity of the workflow, the issuer of its token, the file to sign, the bundle to write. It answers each with `ok`.
package main

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net/url"
	"os"
	"strings"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509util"
	bundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"google.golang.org/protobuf/encoding/protojson"
)

const logIndex = 1000

// authorities are those of VirtualSigstore, but for the one of certificates: its certificates are for email addresses, and are in no log.
type authorities struct {
	*ca.VirtualSigstore
	root, intermediate *x509.Certificate
	intermediateKey    *ecdsa.PrivateKey
	logKey             *ecdsa.PrivateKey
}

func newAuthorities() authorities {
	virtual := must(ca.NewVirtualSigstore())
	rootCert, rootKey, err := ca.GenerateRootCa()
	check(err)
	intermediate, intermediateKey, err := ca.GenerateFulcioIntermediate(rootCert, rootKey)
	check(err)
	return authorities{virtual, rootCert, intermediate, intermediateKey, newKey()}
}

func (a authorities) logID() [32]byte {
	return sha256.Sum256(must(x509.MarshalPKIXPublicKey(a.logKey.Public())))
}

func (a authorities) trustedRoot() []byte {
	start, end := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	fulcio := &root.FulcioCertificateAuthority{
		Root: a.root, Intermediates: []*x509.Certificate{a.intermediate},
		ValidityPeriodStart: start, ValidityPeriodEnd: end, URI: "https://fulcio.localhost",
	}
	id := a.logID()
	ctLogs := map[string]*root.TransparencyLog{hex.EncodeToString(id[:]): {
		BaseURL: "https://ct.localhost", ID: id[:], ValidityPeriodStart: start, ValidityPeriodEnd: end,
		HashFunc: crypto.SHA256, PublicKey: a.logKey.Public(), SignatureHashFunc: crypto.SHA256,
	}}
	// The IDs of VirtualSigstore are hexadecimal.
	rekorLogs := a.RekorLogs()
	for id, known := range rekorLogs {
		known.ID = must(hex.DecodeString(id))
	}
	trusted := must(root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{fulcio}, ctLogs, nil, rekorLogs))
	return must(trusted.MarshalJSON())
}

// certificate makes the certificate of a workflow, with the proof that a log has it.
func (a authorities) certificate(identity, issuer string, key *ecdsa.PrivateKey) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		URIs:         []*url.URL{must(url.Parse(identity))},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(10 * time.Minute),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(issuer)},
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: must(asn1.MarshalWithParams(issuer, "utf8"))},
		},
	}
	sign := func() *x509.Certificate {
		der := must(x509.CreateCertificate(rand.Reader, template, a.intermediate, key.Public(), a.intermediateKey))
		return must(x509.ParseCertificate(der))
	}
	// The log signs the certificate without the proof, which is added at its end.
	proof := a.timestamp(sign().RawTBSCertificate)
	template.ExtraExtensions = append(template.ExtraExtensions,
		pkix.Extension{Id: asn1.ObjectIdentifier(ctx509.OIDExtensionCTSCT), Value: must(asn1.Marshal(proof))})
	return sign()
}

// timestamp is the list with the timestamp that a log signs for a certificate.
func (a authorities) timestamp(certificate []byte) []byte {
	timestamp := ct.SignedCertificateTimestamp{
		SCTVersion: ct.V1, LogID: ct.LogID{KeyID: a.logID()}, Timestamp: uint64(time.Now().UnixMilli()),
	}
	entry := ct.LogEntry{Leaf: ct.MerkleTreeLeaf{Version: ct.V1, LeafType: ct.TimestampedEntryLeafType, TimestampedEntry: &ct.TimestampedEntry{
		Timestamp: timestamp.Timestamp, EntryType: ct.PrecertLogEntryType,
		PrecertEntry: &ct.PreCert{
			IssuerKeyHash: sha256.Sum256(a.intermediate.RawSubjectPublicKeyInfo), TBSCertificate: certificate,
		},
	}}}
	input := must(ct.SerializeSCTSignatureInput(timestamp, entry))
	timestamp.Signature = ct.DigitallySigned(must(tls.CreateSignature(*a.logKey, tls.SHA256, input)))
	list := must(x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&timestamp}))
	return must(tls.Marshal(*list))
}

// logged is the entry of the transparency log for a signature.
func (a authorities) logged(certificate *x509.Certificate, digest [32]byte, signature []byte) *rekor.TransparencyLogEntry {
	type object = map[string]any
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	// Keys in order and no spaces, as the log writes it.
	body := must(json.Marshal(object{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": object{
		"data":      object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(digest[:])}},
		"signature": object{"content": signature, "publicKey": object{"content": public}},
	}}))
	id := must(a.RekorLogID())
	now := time.Now().Unix()
	promise := must(a.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(body), IntegratedTime: now, LogIndex: logIndex, LogID: id,
	}))
	proof := must(a.GetInclusionProof(body))
	return &rekor.TransparencyLogEntry{
		LogIndex:         logIndex,
		LogId:            &common.LogId{KeyId: must(hex.DecodeString(id))},
		KindVersion:      &rekor.KindVersion{Kind: "hashedrekord", Version: "0.0.1"},
		IntegratedTime:   now,
		InclusionPromise: &rekor.InclusionPromise{SignedEntryTimestamp: promise},
		InclusionProof: &rekor.InclusionProof{
			LogIndex: *proof.LogIndex, RootHash: must(hex.DecodeString(*proof.RootHash)), TreeSize: *proof.TreeSize,
			Checkpoint: &rekor.Checkpoint{Envelope: *proof.Checkpoint},
		},
		CanonicalizedBody: body,
	}
}

func (a authorities) sign(identity, issuer, file, target string) {
	key := newKey()
	certificate := a.certificate(identity, issuer, key)
	digest := sha256.Sum256(must(os.ReadFile(file)))
	signature := must(ecdsa.SignASN1(rand.Reader, key, digest[:]))
	written := &bundle.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &bundle.VerificationMaterial{
			Content:     &bundle.VerificationMaterial_Certificate{Certificate: &common.X509Certificate{RawBytes: certificate.Raw}},
			TlogEntries: []*rekor.TransparencyLogEntry{a.logged(certificate, digest, signature)},
		},
		Content: &bundle.Bundle_MessageSignature{MessageSignature: &common.MessageSignature{
			MessageDigest: &common.HashOutput{Algorithm: common.HashAlgorithm_SHA2_256, Digest: digest[:]}, Signature: signature,
		}},
	}
	check(os.WriteFile(target, must(protojson.Marshal(written)), 0o600))
}

func newKey() *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: sigstore TRUSTED-ROOT")
	}
	all := newAuthorities()
	check(os.WriteFile(os.Args[1], all.trustedRoot(), 0o600))
	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		fields := strings.Split(requests.Text(), "\t")
		if len(fields) != 4 {
			log.Fatalf("a request has %d fields", len(fields))
		}
		all.sign(fields[0], fields[1], fields[2], fields[3])
		fmt.Println("ok")
	}
}
