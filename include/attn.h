/*
 * attn.h - attention for C and C++ programs.
 *
 * libattn computes attention, out = softmax(scale * query key^T + masks) value, or with
 * additive scores, for every head of every batch element, in memory linear in the
 * sequence length. This header includes the parts:
 *
 *     attn/version.h   which library is this
 *     attn/common.h    status codes, tensors, contexts
 *     attn/desc.h      the descriptor: which attention
 *     attn/sdpa.h      scaled dot-product attention: plan, call
 *     attn/cache.h     keys and values that stay, for inference
 *     attn/backward.h  its gradients, for training
 *     attn/merge.h     merging attention over parts of the keys
 *     attn/rotary.h    rotary position embeddings
 *     attn/profile.h   where the time of a call goes
 *     attn/tuning.h    tiles chosen by measuring
 *     attn/layer.h     layers: multi-head attention, stacks of Transformer blocks
 *     attn/packed.h    packed weights of layers that do not change
 *     attn/rollout.h   what the last layer of a stack looked at
 *
 * The shortest program calls attn_sdpa(). Everything else is a descriptor
 * (which attention), a plan (up to which sizes), and attn_plan_forward().
 *
 * Comments here are the contract. What they do not promise may change in any
 * release; what they do promise changes only with the ABI version.
 */
#ifndef ATTN_H
#define ATTN_H

#include "attn/backward.h"
#include "attn/cache.h"
#include "attn/common.h"
#include "attn/desc.h"
#include "attn/layer.h"
#include "attn/merge.h"
#include "attn/packed.h"
#include "attn/profile.h"
#include "attn/rollout.h"
#include "attn/rotary.h"
#include "attn/sdpa.h"
#include "attn/tuning.h"
#include "attn/version.h"

#endif
