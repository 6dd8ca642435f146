import type { OperatorRole } from '@sallyport/network'
import type { ColumnType, Generated, JSONColumnType } from 'kysely'
import type { Alarm } from '../domain/alarms.ts'

/** Milliseconds since the epoch, and counters: the pool reads PostgreSQL's bigint as a safe integer. */
type Int = number
type Json<T> = JSONColumnType<T & object>

/** The tables of `migrations/`, as kysely reads and writes them. */
export interface Database {
  installation: { sole: Generated<boolean>; trust_domain: string; pins_digest: string }
  barrier: { sole: Generated<boolean>; document: string }
  declarations: { digest: string; body: string; proposed_by: string; proposed_at: Int }
  declaration_signatures: {
    digest: string
    epoch: Int
    serial: Int
    operator: string
    signature: Json<unknown>
    at: Int
  }
  declaration_serials: { serial: Int; digest: string; at: Int }
  bundle_head: {
    sole: Generated<boolean>
    epoch: Int
    n: Int
    declaration_digest: string
    declaration_serial: Generated<Int>
    state: string
    signature: string
  }
  later_bundle: {
    sole: Generated<boolean>
    epoch: Int
    n: Int
    declaration_digest: string
    declaration_serial: Generated<Int>
    shown_by: string
    at: Int
  }
  superseded_declarations: { epoch: Int; digest: string }
  operator_sets: { version: number; link: string; at: Int }
  operator_proposal: {
    sole: Generated<boolean>
    operator_set: string
    proposed_by: string
    at: Int
  }
  operator_proposal_signatures: { set_digest: string; operator: string; signature: Json<unknown> }
  operator_links: {
    hash: string
    operator: string
    created_by: string
    expires_at: Int
    used_at: Int | null
  }
  operator_totp: { operator: string; secret: string; last_step: Generated<Int> }
  sessions: {
    hash: string
    id: string
    operator: string
    method: 'passkey' | 'totp' | 'oidc'
    csrf: string
    credential_id: string | null
    provider: string | null
    subject: string | null
    display_name: string | null
    groups: JSONColumnType<readonly string[] | null, string | null, never>
    user_agent: string
    address: string
    started_at: Int
    last_used: Int
  }
  break_glass: {
    id: string
    operator: string
    session_id: string
    roles: JSONColumnType<readonly OperatorRole[], string, never>
    reason: string
    incident_id: string
    opened_at: Int
    expires_at: Int
    ended_at: Int | null
    reviewed_at: Int | null
    reviewed_by: string | null
    review: string | null
  }
  break_glass_acts: {
    break_glass_id: string
    seq: Generated<Int>
    at: Int
    method: string
    path: string
  }
  recoveries: { operator: string; confirmed_by: string; confirmed_at: Int }
  alarms: { id: string; at: Int; kind: Alarm['kind']; operator: string; text: string }
  challenges: { hash: string; purpose: string; expires_at: Int }
  join_tokens: {
    hash: string
    kind: 'agent' | 'service' | 'gateway'
    name: string
    created_by: string
    expires_at: Int
    used_at: Int | null
    used_for: string | null
  }
  instances: {
    spiffe_id: string
    kind: 'agent' | 'service' | 'gateway'
    name: string
    enrolled_by: string
    serial: string
    not_after: Int
    first_seen: Int
    last_seen: Int
    risk: Generated<number>
    risk_at: Generated<Int>
    risk_reasons: Generated<string>
  }
  certificates: {
    serial: string
    spiffe_id: string
    key_digest: string
    chain: string
    not_after: Int
    issued_at: Int
    renews: string | null
    root: string | null
  }
  trust_roots: {
    fingerprint: string
    certificate: string
    key: string | null
    prepared_at: Int
    prepared_by: string
    statement: string | null
    trusted_at: Int | null
    activated_at: Int | null
    retired_at: Int | null
  }
  trust_root_signatures: {
    fingerprint: string
    operators: number
    operator: string
    signature: Json<unknown>
    at: Int
  }
  revoked_serials: { serial: string; not_after: Int; at: Int }
  quarantines: {
    id: string
    subject: string
    reason: string
    by: string
    at: Int
    release_statement: string | null
    released_at: Int | null
    released_epoch: Int | null
  }
  release_signatures: { quarantine_id: string; operator: string; signature: Json<unknown> }
  approvals: {
    id: string
    asked: string
    status: 'pending' | 'approved' | 'denied' | 'expired' | 'used'
    instance: string
    agent: string
    system: string
    operation: string
    input: string
    count: number
    declaration_digest: string
    nonce: string
    decision_id: string
    requested_at: Int
    expires_at: Int
    used_at: Int | null
    used_by: string | null
  }
  approval_statements: {
    approval_id: string
    approver: string
    decision: 'approve' | 'deny'
    signed: string
    at: Int
  }
  feed_shards: { shard: string; gateway: string; next: Int }
  feed: {
    seq: Generated<Int>
    shard: string
    index: Int
    kind: string
    at: Int
    decision_id: string | null
    agent: string | null
    instance: string | null
    system: string | null
    operation: string | null
    decision: string | null
    record: string
    explanation: string | null
  }
  shadow_runs: {
    digest: string
    against: string
    started_at: Int
    started_by: string
    ended_at: Int | null
  }
  shadow_counts: { digest: string; against: string; kind: string; calls: Int }
  shadow_examples: { digest: string; against: string; kind: string; decision_id: string; at: Int }
  audit_checkpoints: { shard: string; size: Int; note: string; at: Int }
  signals: { seq: Generated<Int>; instance: string; at: Int; text: string }
  session_labels: { instance: string; label: string }
  call_counts: { agent: string; decision: string; calls: Int }
  detector_state: {
    sole: Generated<boolean>
    seq: Int
    snapshot: string
  }
  reservations: { id: string; at: Int; state: string }
  limit_buckets: { bucket: Int; width: Int; limit_id: string }
  oauth_artefacts: {
    hash: string
    kind: string
    payload: string
    expires_at: Int
    grant_hash: string | null
    alias: string | null
    consumed: Int | null
  }
  oauth_grants: {
    hash: string
    subject: string
    client: string
    credential_id: string
    session_id: string
    since: Int
    expires_at: Int
    signed: string
  }
  backchannel_requests: {
    id: string
    asked: string
    status: 'pending' | 'allowed' | 'refused'
    operator: string
    client: string
    agent: string
    statement: string
    requested_at: Int
    expires_at: Int
    polled_at: Int
    ping: string | null
  }
  token_keys: { kid: string; key: string; not_after: Int; signature: string }
  jwt_svid_keys: { kid: string; key: string; not_after: Int; signature: string }
  revoked_tokens: { jti: string; exp: Int; client: string; at: Int }
  incidents: {
    id: string
    subject: string
    status: 'open' | 'contained' | 'closed'
    opened_at: Int
    closed_at: Int | null
    risk: number
  }
  incident_entries: {
    incident_id: string
    seq: Generated<Int>
    at: Int
    kind: 'signal' | 'decision' | 'approval' | 'quarantine' | 'release' | 'risk' | 'closed'
    text: string
    decision_id: string | null
  }
  leases: {
    id: string
    parent: string | null
    kind: 'scope' | 'database'
    holder: string
    serial: string
    resource: string
    account: string | null
    target: string | null
    terms: string | null
    state: 'creating' | 'active' | 'ending' | 'ended'
    issued_at: Int
    expires_at: Int
    max_expires_at: Int
    ended_at: Int | null
    end_reason: string | null
  }
  lease_clock: { sole: Generated<boolean>; high: Int }
  secrets: { path: string; current: number; newest: number; at: Int }
  secret_versions: {
    path: string
    version: number
    value: Buffer | null
    key_id: string | null
    created_at: Int
    created_by: string
    deleted_at: Int | null
    destroyed_at: Int | null
  }
  transit_keys: { name: string; type: string; newest: number; min_decrypt: number }
  transit_versions: {
    name: string
    version: number
    key: Buffer
    public_key: string | null
    created_at: Int
  }
  rotations: {
    id: string
    path: string
    step: 'create' | 'verify' | 'switch' | 'grace' | 'revoke' | 'done' | 'failed'
    reason: string
    by: string
    old_version: number
    old_key_id: string | null
    new_version: number | null
    new_key_id: string | null
    started_at: Int
    grace_until: Int | null
    ended_at: Int | null
    error: string | null
  }
  mandates: {
    id: string
    delegator: string
    delegate: string
    chain: string
    ids: ColumnType<readonly string[], string, never>
    registered_by: string
    issued_at: Int
    expires_at: Int
  }
  drift: {
    kind: string
    system: string
    name: string
    asked_by: string
    calls: Int
    first_at: Int
    last_at: Int
  }
  inventory_uses: { kind: string; name: string; asked_by: string; calls: Int; last_at: Int }
  mandate_floor: { sole: Generated<boolean>; issued_after: Int }
  revoked_mandates: { id: string; not_after: Int; reason: string; by: string; at: Int }
  mandate_counts: { id: string; grant_index: number; total: Int; expires_at: Int }
  mandate_reservations: { decision_id: string; at: Int; state: string }
}
