import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadDeclaration } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'

const NETWORK = `
name: sql-bank
trustDomain: sql.example
quorum: 1
settings: { svidTtlSeconds: 900, stalenessSeconds: 30, strictStalenessSeconds: 30 }
segments: { zone: { owner: tests } }
agents:
  analyst: { owner: tests, segment: zone, roles: [reads] }
  clerk: { owner: tests, segment: zone, roles: [writes] }
  stranger: { owner: tests, segment: zone, roles: [nobody] }
operators:
  olga: { displayName: Olga, roles: [viewer, responder, approver, admin] }
services:
  ledger-db: { owner: tests, segment: zone }
systems:
  ledger:
    owner: tests
    segment: zone
    criticality: high
    protocol: postgres
    upstream: { service: ledger-db, port: 5432 }
    postgres:
      database: postgres
      user: gateway
      secret: ledger-password
      statementTimeoutMs: 20000
      tables:
        accounts:
          dataset: accounts
          key: id
          columns:
            { id: int8, iban: text, owner: text, balance: int8, branch: text, opened: date, open: bool }
          maxRows: 1000
          rows: [rows.cedar]
        payments:
          dataset: payments
          key: id
          columns: { id: int8, account: int8, amount: int8, memo: text, at: timestamptz }
          maxRows: 100000
    operations:
      read_accounts: { kind: read, from: accounts.select }
      open_account: { kind: write, from: accounts.insert }
      change_account: { kind: write, from: accounts.update }
      close_account: { kind: write, from: accounts.delete }
      read_payments: { kind: read, from: payments.select }
      pay: { kind: write, from: payments.insert }
datasets:
  accounts:
    system: ledger
    owner: tests
    fields:
      id: { class: internal, tags: [account] }
      iban: { class: restricted, tags: [iban], token: iban }
      owner: { class: restricted, tags: [pii], mask: first1 }
      balance: { class: confidential, tags: [money] }
      branch: internal
      opened: internal
      open: internal
      ssn: { class: restricted, tags: [ssn] }
  payments:
    system: ledger
    owner: tests
    fields:
      id: internal
      account: internal
      amount: { class: confidential, tags: [money] }
      memo: { class: restricted, tags: [untrusted] }
      at: internal
flows:
  - { from: analyst, to: ledger, operations: [read_accounts, read_payments], purpose: analysis }
  - from: clerk
    to: ledger
    operations: [read_accounts, open_account, change_account, close_account, pay, read_payments]
    purpose: clerking
`

const POLICIES = `
@id("analysts-read")
permit(principal in Role::"reads", action in Action::"read", resource);

@id("clerks-do")
permit(principal in Role::"writes", action in Action::"call", resource);

@id("no-closing-of-branch-zero")
forbid(principal, action == Action::"ledger.close_account", resource)
unless { context.input.where has branch && context.input.where.branch != "zero" };

@id("no-large-payments")
forbid(principal, action == Action::"ledger.pay", resource)
unless { context.input.set has amount && context.input.set.amount <= 1000 };

@id("fields-whole")
permit(principal, action == Action::"field.read", resource)
when { resource.class <= 2 };

@id("clerks-see-ibans")
permit(principal in Role::"writes", action == Action::"field.read", resource == Field::"accounts.iban");

@id("owners-masked")
permit(principal, action == Action::"field.mask", resource == Field::"accounts.owner");

@id("ibans-as-tokens")
permit(principal, action == Action::"field.tokenise", resource == Field::"accounts.iban");
`

const ROWS = `
@id("rows-of-open-branches")
permit(principal, action == Action::"row.read", resource)
when { resource has branch && ["north", "south"].contains(resource.branch) };

@id("clerks-have-all-but-zero")
permit(principal in Role::"writes", action == Action::"row.read", resource)
when { resource has branch && resource.branch != "zero" };
`

/** A bank whose ledger is a PostgreSQL database; `ssn` is a field of which no column is declared. */
export async function sqlDeclaration(): Promise<Declaration> {
  const dir = mkdtempSync(join(tmpdir(), 'sp-sql-net-'))
  mkdirSync(join(dir, 'policies'))
  writeFileSync(join(dir, 'network.yaml'), NETWORK)
  writeFileSync(join(dir, 'policies', 'all.cedar'), POLICIES)
  writeFileSync(join(dir, 'rows.cedar'), ROWS)
  try {
    return await loadDeclaration({ networkFile: join(dir, 'network.yaml') })
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
