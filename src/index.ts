export type { BatchItem, BatchItemResult, BatchOptions, BatchResult } from './batch.ts'
export type { Clock, Timer } from './clock.ts'
export type { CloseOptions, Manifest } from './closing.ts'
export { createMailer, type Mailer, type TenantMailer } from './create-mailer.ts'
export type { Delivery, Envelope, Recipient, Stream } from './delivery.ts'
export type { RetryOptions } from './dispatch/rounds.ts'
export { type FailureKind, type Issue, MailError, type MailErrorCode } from './errors.ts'
export type { Logger, MailEvents, MailEventType } from './events.ts'
export type { Limits } from './limits.ts'
export type { MergeRecipient } from './merge.ts'
export type {
  AddressInput,
  AddressList,
  Attachment,
  AttachmentContent,
  AttachmentInput,
  Calendar,
  Header,
  HeadersInput,
  Importance,
  Mailbox,
  Message,
  MessageSnapshot,
} from './message/message.ts'
export type { LookUpOptions, MessageFilter, Messages, Resolution } from './messages.ts'
export type { MailerOptions, MessageFor, NameOf, OptionsOf, Providers, QueueOptions, SendOptions } from './options.ts'
export type { Plan } from './plan.ts'
export type { Policy, Send } from './policies/policy.ts'
// For those who write a provider.
export {
  type Answer,
  type Capabilities,
  configurationError,
  type HandOverFailure,
  handOverError,
  type NativeFeature,
  type Provider,
  type RecipientAnswer,
  type SendContext,
  sanitizeReason,
} from './provider.ts'
// For those who write a queue engine.
export type {
  EngineStats,
  EngineWorker,
  EngineWorkOptions,
  EnqueueOptions,
  Job,
  NewJob,
  QueueEngine,
} from './queues/engine.ts'
export type { QueueStats, Worker } from './queues/work.ts'
export type {
  Attempt,
  MessageRecord,
  MessageStatus,
  Outcome,
  Receipt,
  ReceiptRecipient,
  RecipientField,
  RecipientStatus,
  TimelineEvent,
} from './receipt.ts'
export { failover, type Route, type RouteFacts, type RouteFunction, roundRobin, weighted } from './routing/route.ts'
// For those who write a store.
export type { KeyvLike } from './stores/keyv.ts'
export type * from './stores/store.ts'
export type { NewSuppression, Suppression, SuppressionReason, SuppressionScope, Suppressions } from './suppressions.ts'
export type { TenantConfig } from './tenants/context.ts'
export type { Tenants } from './tenants/registry.ts'
export type { LimitUsage, LimitUsages } from './usage.ts'
export type { ProviderVerification, Verification } from './verify.ts'
