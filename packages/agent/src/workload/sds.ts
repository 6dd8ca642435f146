import { hash } from 'node:crypto'

import type {
  ServerDuplexStream,
  ServerUnaryCall,
  sendUnaryData,
  UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { SallyportError } from '@sallyport/base'

import { failure } from './grpc.ts'
import type { Admission } from './serve.ts'
import { ROOTS_REFRESH_MS } from './bundles.ts'
import type { DomainBundle } from './bundles.ts'
import type { WorkloadSource, X509State } from './source.ts'

/** As `sds.proto` reads them, with defaults. */
interface DiscoveryRequest {
  readonly version_info: string
  readonly resource_names: readonly string[]
  readonly type_url: string
  readonly response_nonce: string
  readonly error_detail: { readonly message: string } | null
}

interface DeltaRequest {
  readonly type_url: string
  readonly resource_names_subscribe: readonly string[]
  readonly resource_names_unsubscribe: readonly string[]
  readonly initial_resource_versions: Readonly<Record<string, string>>
  readonly response_nonce: string
  readonly error_detail: { readonly message: string } | null
}

interface Resource {
  readonly name: string
  readonly version: string
  readonly any: { readonly type_url: string; readonly value: object }
}

const SECRET = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret'
const MAX_NAMES = 32
/** The names that Envoy configurations written for other SPIFFE agents use. */
const DEFAULT_CERTIFICATE = 'default'
const DEFAULT_BUNDLE = 'ROOTCA'

/** Envoy's secret discovery service (xDS v3) for one connection, whose caller is known. */
export function secretDiscovery(
  admission: Admission,
  onRejected?: (error: SallyportError) => void,
): UntypedServiceImplementation {
  return {
    StreamSecrets(call: ServerDuplexStream<DiscoveryRequest, object>) {
      streamSecrets(call, admission, onRejected)
    },
    DeltaSecrets(call: ServerDuplexStream<DeltaRequest, object>) {
      deltaSecrets(call, admission, onRejected)
    },
    FetchSecrets(
      call: ServerUnaryCall<DiscoveryRequest, object>,
      answer: sendUnaryData<object>,
    ): void {
      try {
        checkType(call.request.type_url)
        const names = checkNames(call.request.resource_names)
        admission.recheck()
        answer(null, whole(resources(admission.source, names)))
      } catch (error) {
        answer(failure(error))
      }
    },
  }
}

/**
 * State of the world: each response holds every secret that the last request named. A request that carries the nonce of
 * the last response is an ACK or a NACK of it; one that carries an older nonce was overtaken and says nothing.
 */
function streamSecrets(
  call: ServerDuplexStream<DiscoveryRequest, object>,
  admission: Admission,
  onRejected?: (error: SallyportError) => void,
): void {
  let names: readonly string[] | undefined
  let sent = { nonce: '', version: '', names: '' }
  let count = 0
  const push = (): void => {
    if (!names) return
    const found = resources(admission.source, names)
    const version = versionOf(found)
    const wanted = names.join('\n')
    // Neither what was asked for nor what there is has changed: sending it again would be acknowledged for ever.
    if (version === sent.version && wanted === sent.names) return
    sent = { nonce: String(++count), version, names: wanted }
    call.write({ ...whole(found), nonce: sent.nonce })
  }
  converse(call, admission, push, (request) => {
    checkType(request.type_url)
    if (request.response_nonce !== '' && request.response_nonce !== sent.nonce) return
    // Kept as it is until something changes: the same again would be rejected again.
    if (request.error_detail) onRejected?.(rejected(request.error_detail.message))
    names = checkNames(request.resource_names)
  })
}

/** Incremental: each response holds what changed of what is subscribed to. */
function deltaSecrets(
  call: ServerDuplexStream<DeltaRequest, object>,
  admission: Admission,
  onRejected?: (error: SallyportError) => void,
): void {
  const subscribed = new Set<string>()
  /** What the client has of each. */
  const has = new Map<string, string>()
  const missing = new Set<string>()
  let count = 0
  const push = (): void => {
    const found = resources(admission.source, [...subscribed])
    const changed = found.filter(({ name, version }) => has.get(name) !== version)
    const removed = [...subscribed].filter(
      (name) => !missing.has(name) && !found.some((resource) => resource.name === name),
    )
    if (changed.length === 0 && removed.length === 0) return
    for (const { name, version } of changed) has.set(name, version)
    for (const name of removed) missing.add(name)
    call.write({
      system_version_info: versionOf(found),
      type_url: SECRET,
      resources: changed.map(({ name, version, any }) => ({ name, version, resource: any })),
      removed_resources: removed,
      nonce: String(++count),
    })
  }
  converse(call, admission, push, (request) => {
    checkType(request.type_url)
    if (request.error_detail) onRejected?.(rejected(request.error_detail.message))
    for (const name of request.resource_names_unsubscribe) {
      subscribed.delete(name)
      has.delete(name)
      missing.delete(name)
    }
    for (const name of request.resource_names_subscribe) {
      subscribed.add(name)
      // Asked for again, it is sent again: the client may have dropped it.
      has.delete(name)
      missing.delete(name)
    }
    checkNames([...subscribed])
    if (count > 0) return
    for (const [name, version] of Object.entries(request.initial_resource_versions)) {
      if (subscribed.has(name)) has.set(name, version)
    }
  })
}

/** Reads requests one after the other, and pushes after each and after every change, until something is wrong. */
function converse<Request>(
  call: ServerDuplexStream<Request, object>,
  admission: Admission,
  push: () => void,
  take: (request: Request) => void,
): void {
  let ended = false
  const end = (): void => {
    ended = true
    for (const unsubscribe of ends) unsubscribe()
  }
  const turn = (act: () => void): void => {
    if (ended) return
    try {
      admission.recheck()
      act()
    } catch (error) {
      end()
      call.emit('error', failure(error))
    }
  }
  const again = (): void => {
    turn(push)
  }
  const ends = [
    admission.source.onChange(again),
    admission.source.bundles.onChange(again, ROOTS_REFRESH_MS),
  ]
  call.on('data', (request: Request) => {
    turn(() => {
      take(request)
      push()
    })
  })
  call.once('end', () => {
    end()
    call.end()
  })
  call.once('cancelled', end)
  // Whoever broke the stream off is not told so.
  call.once('error', end)
}

function whole(found: readonly Resource[]): object {
  return {
    version_info: versionOf(found),
    type_url: SECRET,
    resources: found.map(({ any }) => any),
  }
}

function versionOf(found: readonly Resource[]): string {
  return digest(found.map(({ name, version }) => `${name}\n${version}\n`).join(''))
}

const digest = (data: string | Buffer): string => hash('sha256', data).slice(0, 32)

/** Of the names, the secrets that there are; no names stand for all there is. What is unknown is left out. */
function resources(source: WorkloadSource, names: readonly string[]): Resource[] {
  const state = source.x509()
  const federated = source.bundles.federated()
  const wanted = names.length === 0 ? [DEFAULT_CERTIFICATE, DEFAULT_BUNDLE] : names
  return [...new Set(wanted)].flatMap((name) => {
    const secret = secretNamed(state, federated, name)
    if (!secret) return []
    const { version, value } = secret
    return [{ name, version, any: { type_url: SECRET, value: { name, ...value } } }]
  })
}

function secretNamed(
  { spiffeId, trustDomain, chain, key, roots }: X509State,
  federated: ReadonlyMap<string, DomainBundle>,
  name: string,
): { version: string; value: object } | undefined {
  if (name === DEFAULT_CERTIFICATE || name === spiffeId) {
    const value = {
      tls_certificate: {
        certificate_chain: inline(pem('CERTIFICATE', chain)),
        private_key: inline(pem('PRIVATE KEY', [key])),
      },
    }
    return { version: digest(Buffer.concat(chain)), value }
  }
  if (name === DEFAULT_BUNDLE || name === `spiffe://${trustDomain}`) return rootsSecret(roots)
  const others = [...federated].find(([domain]) => name === `spiffe://${domain}`)?.[1].authorities
  // Envoy takes no context without roots, and one that trusts nothing is not there.
  return others && others.length > 0 ? rootsSecret(others) : undefined
}

function rootsSecret(roots: readonly Buffer[]): { version: string; value: object } {
  const value = { validation_context: { trusted_ca: inline(pem('CERTIFICATE', roots)) } }
  return { version: digest(Buffer.concat(roots)), value }
}

const inline = (text: string): object => ({ inline_bytes: Buffer.from(text) })

function pem(label: string, blocks: readonly Buffer[]): string {
  return blocks
    .map((der) => {
      const lines = der.toString('base64').match(/.{1,64}/g) ?? []
      return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
    })
    .join('')
}

/** Envoy leaves it empty or names exactly this type. */
function checkType(typeUrl: string): void {
  if (typeUrl === '' || typeUrl === SECRET) return
  throw invalid('only secrets (TLS, v3) are served here')
}

function checkNames(names: readonly string[]): readonly string[] {
  if (names.length <= MAX_NAMES) return names
  throw invalid(`at most ${MAX_NAMES} secrets are served on one stream`)
}

const rejected = (message: string): SallyportError =>
  new SallyportError('SP_WORKLOAD_REJECTED', 'an Envoy did not take a secret', {
    detail: message.slice(0, 500),
    fix: 'read what it says; it goes on with what it had, until that expires',
  })

const invalid = (message: string): SallyportError =>
  new SallyportError('SP_WORKLOAD_REQUEST', message, {
    fix: 'ask for `default`, `ROOTCA`, the SPIFFE id or the trust domain',
  })
