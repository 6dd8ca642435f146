import { anything, finite, integer, list, map, members, oneOf, text } from './shape.ts'
import type { Check } from './shape.ts'
import type {
  Bundle,
  OperatorKey,
  OperatorLink,
  OperatorSet,
  PasskeySignature,
  Quarantine,
  Revision,
  RevokedMandate,
  RiskEntry,
  RootList,
  RootProof,
  RootStatement,
  ShadowDeclaration,
  Signed,
  SignedBundle,
  Statement,
  TokenKey,
  TokenTrust,
} from './types.ts'

type Release = Extract<Statement, { kind: 'release' }>

const name = text(256)
const base64url = text(16_384, /^[A-Za-z0-9_-]*$/)
const digest = text(64, /^[0-9a-f]{64}$/)

export const passkeySignatureShape: Check = members<PasskeySignature>(
  {
    operator: name,
    credentialId: base64url,
    authenticatorData: base64url,
    clientDataJSON: base64url,
    signature: base64url,
  },
  {},
)
const signatures = list(passkeySignatureShape, 64)

const operatorSet = members<OperatorSet>(
  {
    version: integer(1),
    rpId: name,
    origin: name,
    quorum: integer(1, 64),
    keys: list(
      members<OperatorKey>(
        { operator: name, credentialId: base64url, publicKey: base64url, roles: list(name, 16) },
        {},
      ),
      1024,
    ),
  },
  {},
)
const link = { set: operatorSet, signatures }

const operators = members<NonNullable<Bundle['operators']>>(link, {
  genesisSignature: base64url,
  history: list(members<OperatorLink>(link, { genesisSignature: base64url }), 1024),
})

/** More roots than these nobody has: one lasts ten years. */
const MAX_ROOTS = 64

const roots = members<RootList>(
  {
    added: list(
      members<Signed<RootStatement>>(
        {
          statement: members<RootStatement>(
            {
              kind: oneOf('root'),
              trustDomain: name,
              certificate: text(8192, /^[A-Za-z0-9_-]+$/),
              operators: integer(1),
            },
            {},
          ),
          signatures,
        },
        {},
      ),
      MAX_ROOTS,
    ),
    retired: list(digest, MAX_ROOTS),
  },
  {},
)

/** What is shown to who is shown no bundles. */
export const rootProofShape: Check = members<RootProof>({}, { operators, roots })

/** The shape of a signed bundle; `declaration` is opaque here. */
export const signedBundleShape: Check = members<SignedBundle>(
  {
    signature: base64url,
    bundle: members<Bundle>(
      {
        format: oneOf('sallyport-bundle/1'),
        trustDomain: name,
        revision: members<Revision>({ epoch: integer(), n: integer() }, {}),
        issuedAt: integer(),
        declaration: anything,
        declarationDigest: digest,
        declarationSignatures: signatures,
        quarantined: list(
          members<Quarantine>(
            { id: name, subject: text(2048), reason: text(), by: text(2048), at: integer() },
            {},
          ),
        ),
        releases: list(
          members<Signed<Release>>(
            {
              statement: members<Release>(
                {
                  kind: oneOf('release'),
                  quarantineId: name,
                  subject: text(2048),
                  reason: text(),
                  nonce: name,
                },
                {},
              ),
              signatures,
            },
            {},
          ),
        ),
        revokedSerials: list(
          members<Bundle['revokedSerials'][number]>(
            { serial: text(128, /^[0-9a-f]+$/), notAfter: integer() },
            {},
          ),
        ),
        risk: map(members<RiskEntry>({ score: finite(0, 100), at: integer() }, {})),
      },
      {
        declarationSerial: integer(1),
        operators,
        roots,
        revokedMandates: list(
          members<RevokedMandate>(
            { id: text(64, /^mdt_[A-Za-z0-9_-]{43}$/), notAfter: integer() },
            {},
          ),
        ),
        shadow: members<ShadowDeclaration>({ digest, declaration: anything }, {}),
        tokens: members<TokenTrust>(
          {
            issuer: text(512),
            keys: list(
              members<TokenKey>({ kid: name, key: base64url, notAfter: integer() }, {}),
              1024,
            ),
            revoked: list(
              members<TokenTrust['revoked'][number]>({ jti: name, exp: integer() }, {}),
            ),
          },
          {},
        ),
      },
    ),
  },
  {},
)
