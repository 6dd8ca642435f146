import type { Attestors, UnixAttestation } from './attestation-types.ts'
import type { Report } from './check.ts'
import type { Located } from './read-yaml.ts'
import type { RawNetwork } from './raw.ts'
import { integer, object, text } from './schema-parts.ts'
import type { Schema } from './schema-parts.ts'
import type { Network } from './types.ts'

const SHA256: Schema = {
  type: 'string',
  pattern: '^[0-9a-f]{64}$',
  description: 'SHA-256, 64 hexadecimal digits in lower case.',
}
const DNS_LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const DNS_NAME = `^${DNS_LABEL}(?:\\.${DNS_LABEL}){0,7}$`
/** A file name beside the declaration; `loadDeclaration` confines it. */
const FILE = text('A file beside the declaration, by its relative path.', 256)
const HTTPS: Schema = {
  type: 'string',
  pattern: '^https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?$',
  maxLength: 512,
  description: '`https://host[:port][/path]`.',
}

/** `agents.NAME.attest` of network.yaml. */
export const attestSchema: Schema = object('What an instance of the agent proves to be one.', [], {
  unix: object('A process on the machine of a shared Workload API; all given must hold.', ['uid'], {
    uid: integer('Its effective user.', 0, 4_294_967_294),
    gid: integer('Its effective group.', 0, 4_294_967_294),
    path: {
      type: 'string',
      pattern: '^(?:/(?!\\.{1,2}(?:/|$))[^/\\u0000-\\u001f]+)+$',
      maxLength: 4096,
      description: 'Its executable; one that the user itself cannot change.',
    },
    sha256: SHA256,
  }),
  x509pop: object(
    'The holder of a key whose certificate a CA of `attestors` issued.',
    ['dnsName'],
    {
      dnsName: { type: 'string', pattern: DNS_NAME, description: 'The one DNS name in it.' },
      sha256: SHA256,
    },
  ),
  kubernetes: object('A pod of a service account.', ['namespace', 'serviceAccount'], {
    namespace: { type: 'string', pattern: `^${DNS_LABEL}$`, description: 'Its namespace.' },
    serviceAccount: { type: 'string', pattern: DNS_NAME, description: 'Its service account.' },
  }),
})

/** `attestors` of network.yaml. */
export const attestorsSchema: Schema = object('Who vouches for agents that enrol themselves.', [], {
  x509pop: object('A certificate authority of machines.', ['caFile'], { caFile: FILE }),
  kubernetes: object('A cluster. Its keys, its API server or both.', ['issuer', 'audience'], {
    issuer: text('The `iss` of its tokens, exactly.', 512),
    audience: text('The audience that tokens for this network are projected for.', 256),
    keysFile: FILE,
    api: object('Asked about every token (TokenReview).', ['url', 'caFile'], {
      url: HTTPS,
      caFile: FILE,
    }),
  }),
})

/** With the files that it names, read. */
export function resolveAttestors(
  raw: RawNetwork['attestors'],
  read: (file: string, pointer: string) => string,
  readPem: (file: string, pointer: string) => string,
): { readonly attestors?: Attestors } {
  if (!raw) return {}
  const { x509pop, kubernetes } = raw
  const at = '/attestors/kubernetes'
  return {
    attestors: {
      ...(x509pop && { x509pop: { ca: readPem(x509pop.caFile, '/attestors/x509pop/caFile') } }),
      ...(kubernetes && {
        kubernetes: {
          issuer: kubernetes.issuer,
          audience: kubernetes.audience,
          ...(kubernetes.keysFile !== undefined && {
            keys: read(kubernetes.keysFile, `${at}/keysFile`),
          }),
          ...(kubernetes.api && {
            api: {
              url: kubernetes.api.url,
              ca: readPem(kubernetes.api.caFile, `${at}/api/caFile`),
            },
          }),
        },
      }),
    },
  }
}

/** Whether each proof has somebody to check it, and stands for one agent. */
export function checkAttestation(network: Network, located: Located, report: Report): void {
  const { attestors } = network
  if (attestors?.kubernetes && !attestors.kubernetes.keys && !attestors.kubernetes.api) {
    report(
      'SP_NETWORK_RULE',
      located.at('/attestors/kubernetes'),
      'neither `keysFile` nor `api` is given',
      'no token of the cluster could be verified',
      'name the cluster’s JWKS, its API server, or both',
    )
  }
  for (const [i, agent] of network.agents.entries()) {
    const pointer = `/agents/${agent.name}/attest`
    const { unix, x509pop, kubernetes } = agent.attest ?? {}
    for (const [kind, given] of Object.entries({ x509pop, kubernetes })) {
      if (!given || attestors?.[kind === 'x509pop' ? 'x509pop' : 'kubernetes']) continue
      report(
        'SP_NETWORK_REFERENCE',
        located.at(`${pointer}/${kind}`),
        `\`attestors.${kind}\` is not declared`,
        'nobody could check this proof',
        'declare the attestor, or leave this out',
      )
    }
    for (const other of network.agents.slice(0, i)) {
      const theirs = other.attest
      const clash =
        unix && theirs?.unix && overlap(unix, theirs.unix)
          ? 'unix'
          : x509pop && theirs?.x509pop?.dnsName === x509pop.dnsName
            ? 'x509pop'
            : kubernetes &&
                theirs?.kubernetes?.namespace === kubernetes.namespace &&
                theirs.kubernetes.serviceAccount === kubernetes.serviceAccount
              ? 'kubernetes'
              : undefined
      if (clash === undefined) continue
      report(
        'SP_NETWORK_DUPLICATE',
        located.at(`${pointer}/${clash}`),
        `one proof could stand for both \`${other.name}\` and \`${agent.name}\``,
        'whoever could be two agents is given neither identity',
        'run the agents under different users, names or service accounts',
      )
    }
  }
}

/** Whether one process could be both: nothing that both declare differs. */
function overlap(a: UnixAttestation, b: UnixAttestation): boolean {
  const parts = ['uid', 'gid', 'path', 'sha256'] as const
  return parts.every(
    (part) => a[part] === undefined || b[part] === undefined || a[part] === b[part],
  )
}
