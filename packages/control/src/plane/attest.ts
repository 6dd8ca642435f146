import type { AttestedEnrolment } from '../attest/enrolment.ts'
import { readBody, sendJson, textIn } from './answer.ts'
import type { PlaneRoute } from './routes.ts'

const SMALL = 32_768

/** Enrolment without a join token: what a machine or a pod proves stands for one. */
export function attestRoutes(enrolment: AttestedEnrolment): PlaneRoute[] {
  return [
    {
      method: 'POST',
      path: /^\/v1\/attest\/nonce$/,
      who: 'anonymous',
      async handle({ request, response }) {
        await readBody(request, SMALL, [])
        sendJson(response, enrolment.nonces.issue())
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/attest\/x509pop$/,
      who: 'anonymous',
      async handle({ request, response }) {
        const body = await readBody(request, SMALL, ['nonce', 'csr', 'certificate', 'signature'])
        const proof = {
          nonce: textIn(body, 'nonce'),
          csr: textIn(body, 'csr', 8192),
          certificate: textIn(body, 'certificate', 16_384),
          signature: textIn(body, 'signature', 2048),
        }
        sendJson(response, await enrolment.byPossession(proof))
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/attest\/kubernetes$/,
      who: 'anonymous',
      async handle({ request, response }) {
        const body = await readBody(request, SMALL, ['token', 'csr'])
        const token = textIn(body, 'token', 8192)
        sendJson(response, await enrolment.byServiceAccount(token, textIn(body, 'csr', 8192)))
      },
    },
  ]
}
