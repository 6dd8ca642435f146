import type { ControlAudit } from '../access/audit.ts'

/** What people and services do at the control plane, in its own shard of the audit log. */
export interface Acts {
  /**
   * Durable when it resolves.
   *
   * @param subject SPIFFE id of a workload that did it
   * @throws SallyportError `SP_AUDIT_UNAVAILABLE`, `SP_STORE_UNAVAILABLE`
   */
  record(
    event: string,
    facts: Readonly<Record<string, string | number | boolean>>,
    subject?: string,
  ): Promise<void>
}

export function createActs(audit: () => Promise<ControlAudit>): Acts {
  return {
    async record(event, facts, subject) {
      const shard = await audit()
      const record = { ...shard.base(), kind: 'event' as const, event, facts }
      await shard.append([{ record: { ...record, ...(subject === undefined ? {} : { subject }) } }])
    },
  }
}
