import { SallyportError } from '@sallyport/base'
import { parseNetwork } from '@sallyport/network'
import type { Problem, Network } from '@sallyport/network'

/** The smallest declaration with every part in it; tests change one thing at a time. */
export const MINIMAL = `name: small
trustDomain: small.example
quorum: 1
segments:
  inner: { owner: us }
agents:
  reader: { owner: us, segment: inner, roles: [reads] }
operators:
  ann: { displayName: Ann, roles: [admin] }
services:
  ledger: { owner: us, segment: inner }
systems:
  bank:
    owner: us
    segment: inner
    protocol: http
    openapi: bank.yaml
    upstream: { service: ledger, port: 7000 }
    operations:
      pay:
        kind: write
        subject: account
        returns: { 'payments[]': payments, next: public }
datasets:
  payments:
    system: bank
    owner: us
    fields:
      id: internal
      iban: { class: restricted, tags: [pii], mask: last4, token: account }
flows:
  - { from: reader, to: bank, operations: [pay], purpose: work }
limits:
  pays:
    agents: [reader]
    operations: [bank.pay]
    windowSeconds: 60
    maxCalls: 10
    maxSum: { input: amount, max: 1000 }
`

export const API = `openapi: 3.0.3
info: { title: t, version: '1' }
paths:
  /v1/accounts/{account}/payments:
    post:
      operationId: pay
      parameters:
        - { name: account, in: path, required: true, schema: { type: string, maxLength: 34 } }
        - { name: dry, in: query, schema: { type: boolean } }
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [amount, to]
              properties:
                amount: { type: integer, minimum: 1, maximum: 5000 }
                to: { $ref: '#/components/schemas/Party' }
                labels: { type: array, items: { type: string, enum: [a, b] }, maxItems: 5 }
components:
  schemas:
    Party:
      type: object
      additionalProperties: false
      required: [iban]
      properties:
        iban: { type: string, minLength: 5, maxLength: 34, x-sallyport-token-of: payments.iban }
`

export function parse(
  text: string,
  files: Readonly<Record<string, string>> = { 'bank.yaml': API },
): { readonly network?: Network; readonly problems: readonly Problem[] } {
  return parseNetwork(text, {
    file: 'network.yaml',
    readFile: (path) => {
      const content = files[path]
      if (content === undefined) {
        throw new SallyportError('SP_NETWORK_FILE', `the file \`${path}\` cannot be found`)
      }
      return content
    },
  })
}
