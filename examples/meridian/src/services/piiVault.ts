import { sha256Hex } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { Refusal, router } from './http.ts'
import type { Handler } from './http.ts'

const FIRST = ['Ada', 'Bruno', 'Clara', 'Dario', 'Elif', 'Farid', 'Greta', 'Hugo', 'Ines', 'Jonas']
const LAST = [
  'Abel',
  'Brandt',
  'Castro',
  'Dietz',
  'Engel',
  'Farkas',
  'Grau',
  'Haas',
  'Ilic',
  'Jung',
]
const STREETS = ['Lindenweg', 'Marktplatz', 'Hafenstrasse', 'Ringallee', 'Am Bach']

interface Customer {
  readonly id: string
  readonly name: string
  readonly dateOfBirth: string
  readonly address: string
  readonly iban: string
  readonly email: string
  readonly phone: string
}

/** A German-style IBAN with a right checksum (ISO 13616) of a bank that does not exist. */
function iban(number: number): string {
  const account = `00000000${String(number).padStart(10, '0')}`
  const check = 98n - (BigInt(`${account}131400`) % 97n)
  return `DE${String(check).padStart(2, '0')}${account}`
}

/** An invented person, the same on every run for the same id. */
export function customer(id: string): Customer {
  const digits = sha256Hex(`person/${id}`)
  const part = (from: number, range: number): number =>
    Number.parseInt(digits.slice(from, from + 8), 16) % range
  const first = FIRST[part(0, FIRST.length)] ?? ''
  const last = LAST[part(8, LAST.length)] ?? ''
  const street = STREETS[part(16, STREETS.length)] ?? ''
  return {
    id,
    name: `${first} ${last}`,
    dateOfBirth: `${1940 + part(24, 65)}-${String(1 + part(32, 12)).padStart(2, '0')}-11`,
    address: `${street} ${1 + part(40, 99)}, 10115 Berlin`,
    iban: iban(part(48, 1_000_000_000)),
    email: `${first}.${last}.${digits.slice(0, 6)}@example.com`.toLowerCase(),
    phone: `+49 30 ${String(part(56, 10_000_000)).padStart(7, '0')}`,
  }
}

/** The vault of personal data: customers and, apart from them, their contact address. */
export function piiVault(): Handler {
  const find = (id: string): Customer => {
    if (!/^cus_[A-Za-z0-9_-]{1,60}$/.test(id)) throw new Refusal(404, 'no such customer')
    return customer(id)
  }
  return router([
    {
      method: 'GET',
      path: '/v1/customers/{customerId}',
      answer: ({ param }): JsonValue => ({ customer: { ...find(param('customerId')) } }),
    },
    {
      method: 'GET',
      path: '/v1/customers/{customerId}/contact',
      answer: ({ param }): JsonValue => {
        const { id, email } = find(param('customerId'))
        return { contact: { id, email } }
      },
    },
  ])
}
